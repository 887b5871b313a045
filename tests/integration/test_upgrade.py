"""An installation of an earlier release is upgraded while its stages still write: nothing is lost, nothing double."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from uuid import uuid4

import pytest
from earlier_release import FIXTURE, commit, make_topics, run, write, written

from attendance.kafka.admin import create_topics
from attendance.kafka.topic_facts import check_topics
from attendance.kafka.topic_repair import repair_topics
from attendance.settings import ErpnextSettings, KafkaSettings
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from sandbox.broker import Broker
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.process import ChildProcess

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

SECONDS = 240
ROW = ("event_id", "employee", "time", "log_type", "device_id")


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    """Only Apache Kafka has configurations that a release may have left behind."""
    return kafka_broker


@pytest.fixture
def kafka(broker: Broker) -> KafkaSettings:
    return KafkaSettings.load(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=f"earlier-{uuid4().hex[:8]}",
        partitions=4,
        session_timeout=broker.session_timeout,
        _env_file=None,
    )


class Upgraded:
    """The stages of today beside what those of the earlier release have left, and still write."""

    def __init__(self, kafka: KafkaSettings, directory: Path) -> None:
        self.kafka = kafka
        self._directory = directory
        journal = directory / "erpnext.journal"
        shutil.copy(FIXTURE / "erpnext.journal", journal)
        self.site = ErpnextStandIn(log_file=directory / "erpnext.log", journal=journal)
        self.erpnext = ErpnextSettings(
            url=self.site.url, api_key=self.site.api_key, api_secret=self.site.api_secret, _env_file=None
        )

    @contextmanager
    def stages(self) -> Iterator[None]:
        env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_PARTITIONS": "4",
            "KAFKA_SESSION_TIMEOUT": str(self.kafka.session_timeout),
            "PUNCHSTREAM_DEVICES": str(FIXTURE / "devices.yaml"),
            "ERPNEXT_URL": self.site.url,
            "ERPNEXT_API_KEY": self.site.api_key,
            "ERPNEXT_API_SECRET": self.site.api_secret,
            "DIRECTORY_INTERVAL": "1s",
            "STREAM_BATCH": "5",
            "SINK_RETRY_MAX": "2s",
        }
        directory, stream, sink = (
            ChildProcess(
                [sys.executable, "-m", "punchstream", stage], log_file=self._directory / f"{stage}.log", env=env
            )
            for stage in ("directory", "stream", "sink")
        )
        with directory, stream, sink:
            yield

    def rows(self) -> list[tuple[str, ...]]:
        """ERPNext's check-ins."""
        return sorted(tuple(row[field] or "" for field in ROW) for row in self.site.checkins())

    def audit(self) -> Report:
        report: Report = run(audit(KafkaLog(self.kafka, "audit"), erpnext=self.erpnext))
        return report

    def until(self, rows: list[tuple[str, ...]]) -> Report:
        """Return the audit when ERPNext has exactly these, and it balances."""
        deadline = time.monotonic() + SECONDS
        while (found := self.rows()) != rows or not (report := self.audit()).balanced:
            missing, surplus = set(rows) - set(found), set(found) - set(rows)
            assert time.monotonic() < deadline, (missing, surplus, len(found), self.audit())
            time.sleep(1)
        return report


def expected(name: str) -> list[tuple[str, ...]]:
    rows = json.loads((FIXTURE / name).read_text(encoding="utf-8"))
    return sorted(tuple(row[field] or "" for field in ROW) for row in rows)


def test_stages_of_two_releases_at_once_lose_nothing_and_make_nothing_double(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    upgraded = Upgraded(kafka, tmp_path)

    async def upgrade() -> None:
        await make_topics(kafka)
        await write(kafka, written("before"))
        await commit(kafka)
        # The steps of docs/topics.md, while the old stages run.
        await create_topics(kafka)
        await repair_topics(kafka)
        assert await check_topics(kafka) == []

    run(upgrade())
    meanwhile = written("meanwhile")
    raw = [each for each in meanwhile if each.topic == "raw"]
    others = [each for each in meanwhile if each.topic not in ("raw", "deliveries")]
    pairs = zip_longest(raw, others)
    with upgraded.site, upgraded.stages():
        # Terminals send on. The sinks are new; a worker of the old stream, which nobody has told that its partitions
        # are another's, decides what the new one decides too.
        run(write(kafka, [each for pair in pairs for each in pair if each is not None]))
        upgraded.until(expected("rows.json"))

        # Who becomes known now has waited since before the upgrade.
        upgraded.site.employees(json.loads((FIXTURE / "late.json").read_text(encoding="utf-8")))
        upgraded.until(expected("rows-late.json"))

        # And everything comes once more.
        again = [each for part in ("before", "meanwhile") for each in written(part) if each.topic == "raw"]
        run(write(kafka, again))
        report = upgraded.until(expected("rows-late.json"))
        assert report.raw == 2 * len(again)
