"""A Prometheus that scrapes stages under test, and every query of the dashboards and of the rules."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import psutil
import yaml
from eventually import eventually

from sandbox.ports import free_port

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
_SELECTOR: Final = re.compile(r"\b(?:punchstream_\w+|up)\b(?:\{[^}]*\})?")

QUIET: Final[dict[str, str]] = {
    r"punchstream_(shift|attendance_days)_": "completeness does not run in the demo",
    r"punchstream_audit_": "no timer runs the audit there",
    r"punchstream_reconciled_": "no night passes",
    r"_expires?_timestamp_seconds > 0": "nothing is about to be deleted",
}
"""Queries that find nothing in a demo, and why."""
FAULTS: Final[dict[str, str]] = {
    r"punchstream_records_missing": "nothing is gone from a topic",
    r"punchstream_connections_closed_total": "there is room for every connection",
    r"punchstream_requests_refused_total\{reason": "Kafka is there, and push keeps up",
    r"punchstream_pull_behind_": "each device that is asked answers",
    r"punchstream_target_errors_total": "ERPNext takes everything",
    r"punchstream_sent_back_total": "ERPNext knows each employee",
}
"""Queries that find something only where something fails, and what has to. On a busy machine it may."""


def is_of(query: str, which: Mapping[str, str]) -> bool:
    """Whether a query is one of those."""
    return any(re.search(pattern, query) for pattern in which)


def queries() -> list[str]:
    """What dashboards ask; and of rules, which are to find nothing wrong, the series that they look at."""
    found: set[str] = set()
    for path in (DEPLOY / "grafana").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            # Grafana puts a time there.
            found |= {target["expr"].replace("$__rate_interval", "1m") for target in panel["targets"]}
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            found |= set(_SELECTOR.findall(rule["expr"]))
    return sorted(found)


def metrics_ports(pid: int) -> dict[str, int]:
    """The ports for metrics of the stages that a process has started, by stage."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        *_, module, stage = ["", "", *process.cmdline()]
        if module == "punchstream":
            found[stage] = int(process.environ()["METRICS_PORT"])
    return found


class Prometheus:
    """One that runs. Ask it once it has scraped for a while."""

    def __init__(self, client: httpx.Client) -> None:
        """It is asked by that client."""
        self._client = client

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        return self._client.get("/-/ready").is_success

    def finds(self, query: str) -> bool:
        """Whether a query has any result."""
        return bool(self.results(query))

    def results(self, query: str) -> list[object]:
        """What a query has now."""
        answer = self._client.get("/api/v1/query", params={"query": query})
        assert answer.is_success, (query, answer.text)
        found: list[object] = answer.json()["data"]["result"]
        return found


@contextmanager
def scraping(directory: Path, ports: Mapping[str, int]) -> Iterator[Prometheus]:
    """A Prometheus that has scraped each of these stages three times, a second apart.

    Args:
        directory: For its data.
        ports: Of the stages, on 127.0.0.1.
    """
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "punchstream",
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports.values()]}],
            }
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = (
        f"prometheus --config.file={directory}/prometheus.yml --storage.tsdb.path={directory}/data"
        f" --web.listen-address={address} --log.level=error"
    )
    with subprocess.Popen(shlex.split(command)) as process, httpx.Client(base_url=f"http://{address}") as client:
        try:
            running = Prometheus(client)
            scraped = "sum_over_time(up[5m]) >= 3"
            eventually(
                lambda: running.is_ready() and len(running.results(scraped)) == len(ports),
                within=60,
                wanted=f"each of {', '.join(ports)} is scraped",
            )
            yield running
        finally:
            process.terminate()
