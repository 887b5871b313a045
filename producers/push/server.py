"""The push process: terminals send their punches, and are answered "ok" once Kafka has them.

Each push adapter brings its routes. Who sends is known before the body is read, and nothing is answered before all that
a request holds is in Kafka.
"""

import math
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import uvicorn

from attendance.kafka.fleet import FleetTopic
from attendance.kafka.producer import Producer
from attendance.kafka.readers import follow
from attendance.kafka.stage_guards import stage_guards
from attendance.listening import BACKLOG, listen
from attendance.metrics import Metrics
from attendance.proxies import Proxies
from attendance.registry import Registry
from attendance.runtime import STOP_SIGNALS, raise_file_limit
from attendance.sealing import Seal
from attendance.settings import DeadLetterSettings, KafkaSettings, PushSettings, UnreadSettings
from attendance.tracing import OFF, Tracing
from producers.clocks import Clocks
from producers.expiry import Expiry
from producers.publisher import Publisher
from producers.push.app import create_app
from producers.push.connections import Connections
from producers.push.protocol import Shared, seen_heads
from producers.status import Statuses
from producers.terminals import Terminals

log = structlog.get_logger(__name__)

RESERVED_FILES: Final = 128
"""Beside the connections of terminals: those to Kafka, the fleet file, and what the interpreter has open."""
FEWEST: Final = 16


def serve(
    kafka: KafkaSettings,
    push: PushSettings,
    registry: Registry,
    metrics: Metrics,
    seal: Seal,
    tracing: Tracing = OFF,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests at hand and return.

    Args:
        kafka: Where the punches go.
        push: Where to listen, and the limits of a request.
        registry: The fleet.
        seal: Seals what was not understood.
        metrics: Where requests are counted.
        tracing: Of requests, and of what they bring.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    producer = Producer(kafka, kafka.client_id("push"))
    publisher = Publisher(
        producer,
        kafka.topics,
        metrics,
        push.max_in_flight,
        # The embedded broker has no authorizer, and does not expect a request that holds nothing.
        refused=producer.refused if kafka.enable_idempotence else None,
        seal=seal,
        tracing=tracing,
    )
    terminals = Terminals(kafka.topics["terminals"], producer.send)
    clocks = Clocks(metrics)
    statuses = Statuses(publisher, clocks, follows=True)
    follower = partial(follow, kafka, client_id=kafka.client_id("push-follower"))
    following: list[Callable[[], Awaitable[object]]] = [
        partial(follower, kafka.topics["terminals"], terminals.learn),
        partial(follower, kafka.topics["device_status"], statuses.apply, caught_up=statuses.caught_up),
    ]
    days, letter_days = UnreadSettings.load().days, DeadLetterSettings.load().days
    expiry = Expiry(
        kafka,
        days or kafka.retention_days,
        letter_days or kafka.retention_days,
        metrics,
        kafka.client_id("push-expiry"),
    )
    fleet = FleetTopic(kafka, registry, "push")
    guards = stage_guards("push", kafka, metrics, producer, clocks.read, own=[fleet])
    following += [expiry.watch, fleet.follow]
    files = raise_file_limit()
    most = min(push.max_connections, max(files - RESERVED_FILES, FEWEST))
    if most < push.max_connections:
        log.warning("There is room for fewer connections than PUSH_MAX_CONNECTIONS.", connections=most, files=files)
    connections = Connections(most, push.max_connections_per_address)
    metrics.watch("punchstream_connections", lambda: len(connections))
    app = create_app(
        push,
        registry,
        publisher,
        terminals,
        statuses,
        metrics,
        *following,
        guards=guards,
        clocks=clocks,
    )
    proxies = Proxies(push.trusted_proxies)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=seen_heads(
            Shared(push, app.knocking, connections, app.receiving, app.turns, proxies, metrics, terminals.seldom)
        ),
        # It would believe any header of a proxy on this machine.
        proxy_headers=False,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        # By then Kafka has acknowledged what was posted, or the terminal was told that it has not.
        timeout_graceful_shutdown=math.ceil(kafka.request_timeout) + 1,
    )
    server = uvicorn.Server(config)
    # At its end the server raises each signal again, for whoever handled it before: that must not kill the process.
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    with listen("PUSH", push.host, push.port) as listener:
        host, port = listener.getsockname()[:2]
        log.info("Listening.", host=host, port=port, devices=len(registry))
        server.run([listener])
