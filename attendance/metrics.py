"""Prometheus metrics, from one table of names: a name that is not in it cannot be counted."""

import platform
import socket
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from socketserver import ThreadingMixIn
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    make_wsgi_app,
)

from attendance.health import Health
from attendance.listening import listen
from attendance.metric_table import TABLE, Name

_Kind = TypeVar("_Kind", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one process. Each instance has its own registry, so a test can have its own counts."""

    def __init__(self, stage: str | None = None) -> None:
        """Nothing is counted yet.

        Args:
            stage: Whose metrics are shown from the start; None shows those of every stage. A gauge of another stage
                would stand at 0, and sound its alarm. If it is used all the same, it is shown from then on.
        """
        self._registry = CollectorRegistry()
        self._metrics = {
            name: metric.kind(name, metric.meaning, metric.labels, registry=None) for name, metric in TABLE.items()
        }
        self._unseen = {name for name, metric in TABLE.items() if stage is not None and stage not in metric.stages}
        for name in TABLE.keys() - self._unseen:
            self._registry.register(self._metrics[name])
        self._children: dict[tuple[object, ...], Any] = {}
        ProcessCollector(registry=self._registry)
        if stage is not None:
            about = {"version": version("punchstream"), "python": platform.python_version()}
            self.gauge("punchstream_build_info", 1, stage=stage, **about)
        self.health = Health()

    def count(self, name: Name, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._of(name, Counter, labels).inc(amount)

    def gauge(self, name: Name, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._of(name, Gauge, labels).set(value)

    def watch(self, name: Name, read: Callable[[], float], **labels: str) -> None:
        """Have a gauge show what `read` returns when it is asked for."""
        self._of(name, Gauge, labels).set_function(read)

    def forget(self, name: Name, **labels: str) -> None:
        """Show the metric with these labels no longer."""
        self._metrics[name].remove(*(labels[label] for label in TABLE[name].labels))
        self._children.clear()

    def observe(self, name: Name, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""
        self._of(name, Histogram, labels).observe(seconds)

    def exposition(self) -> bytes:
        """Every metric in Prometheus' text format."""
        return generate_latest(self._registry)

    def ready(self, part: str, reason: str | None) -> None:
        """Say whether a part of this process can do its work, as `Health.ready` has it. Safe from any thread."""
        self.health.ready(part, reason)

    def serve(self, host: str, port: int) -> None:
        """Serve `/metrics`, `/healthz` and `/readyz` from threads for as long as the process lives; port 0 serves none.

        `/healthz` is 503 while the event loop does not turn, and `/readyz` while a part is not ready: with the reasons.

        Raises:
            ConfigurationError: it cannot listen there.
        """
        if port:
            server = _Server(listen("METRICS", host, port))
            server.set_app(self.answer)
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer a request by WSGI. Not in the event loop that is asked about."""
        match environ["PATH_INFO"]:
            case "/healthz":
                dead = self.health.why_dead()
                reasons = [] if dead is None else [dead]
            case "/readyz":
                reasons = self.health.reasons()
            case _:
                exposition: Iterable[bytes] = make_wsgi_app(self._registry)(environ, start)
                return exposition
        status = "503 Service Unavailable" if reasons else "200 OK"
        start(status, [("Content-Type", "application/json")])
        return [orjson.dumps({"ok": not reasons, "reasons": reasons})]

    def _of(self, name: Name, kind: type[_Kind], labels: dict[str, str]) -> _Kind:
        metric = self._metrics[name]
        if name in self._unseen:
            self._unseen.discard(name)
            self._registry.register(metric)
        if not isinstance(metric, kind):
            raise TypeError(f"{name} is a {type(metric).__name__}, not a {kind.__name__}")
        if not labels:
            return metric
        # The library's own way to the labels takes as long as to write the event that is counted.
        key = (name, *labels.items())
        child: _Kind | None = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(**labels)
        return child


class _Server(ThreadingMixIn, WSGIServer):
    """Serves a socket that listens, of IPv4 or IPv6. The library's own way asks a name server for the host's name."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: a request for metrics is no event."""
