"""Whoever fails, the others are delivered: for any mix of failures, in virtual time, against a site with a state."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from attendance.errors import (
    DocumentRejected,
    PermissionDenied,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)
from attendance.kafka.records import OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery
from attendance.settings import SinkSettings
from attendance.topics import Topics
from sinks.delivery.deliverer import Deliverer
from sinks.delivery.outcomes import OutcomeWriter
from sinks.delivery.queue import QueuedCheckin
from sinks.targets.erpnext.call import Call
from sinks.targets.erpnext.target import ErpnextTarget
from tests.support.fake_records import CheckinRecord
from tests.support.virtual_time import run_in_virtual_time

TOPICS = Topics("test")
TIMEOUT = 30.0  # of the client
LOCK_SECONDS = 20.0  # that the database waits for a lock
REQUEST_SECONDS = 0.03
DOCUMENT_SECONDS = 0.01

KINDS = {
    "rejected": (0.0, DocumentRejected(417, "MandatoryError", "Error: Value missing for Employee Checkin: Shift")),
    "forbidden": (0.0, PermissionDenied("403 PermissionError: User Permission")),
    "broken": (0.0, ServerError("500 ValueError: hook")),
    "named again": (0.0, DocumentRejected(409, "DuplicateEntryError", "EMP-CKIN-1 already exists")),
    "locked": (0.0, RequestAbandoned("500 QueryTimeoutError: lock", answered=True)),
    "locked for long": (LOCK_SECONDS, RequestAbandoned("500 QueryTimeoutError: lock", answered=True)),
    "without an answer": (TIMEOUT, RequestAbandoned("ReadTimeout")),
    "closed": (0.0, RequestAbandoned("ConnectionError")),
    "slow": (LOCK_SECONDS, None),
}
OUTAGES = {
    "maintenance": TargetUnavailable("503 SessionStopped"),
    "rate limit": TargetUnavailable("429 TooManyRequestsError", 3600),
    "no permission": PermissionDenied("403 PermissionError: no permission for Employee Checkin"),
    "series behind": DocumentRejected(409, "DuplicateEntryError", "EMP-CKIN-1 already exists"),
    "everything breaks": ServerError("500 OperationalError"),
    "locks": RequestAbandoned("500 QueryTimeoutError: lock", answered=True),
    "closed": RequestAbandoned("ConnectionError"),
}


@dataclass
class Site:
    """An ERPNext in which some employees' documents always fail; it counts the seconds that its answers take."""

    failing: dict[str, str] = field(default_factory=dict)
    outage: Exception | None = None
    rows: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    passed: float = 0.0  # in the call under way

    def insert(self, document: Mapping[str, Any]) -> str:
        return self.insert_many([document])[0]

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        self.requests += 1
        self.passed += REQUEST_SECONDS
        if self.outage is not None:
            raise self.outage
        for document in documents:
            self.passed += DOCUMENT_SECONDS
            seconds, error = KINDS.get(self.failing.get(document["employee"], ""), (0.0, None))
            self.passed += seconds
            if error is not None:
                raise error
        now = asyncio.get_running_loop().time() + self.passed
        for document in documents:
            self.rows.setdefault(document["event_id"], now)
        return [document["event_id"] for document in documents]

    def get_list(self, _doctype: str, _fields: object, filters: Any = (), **_: object) -> list[dict[str, Any]]:
        self.requests += 1
        self.passed += REQUEST_SECONDS
        if isinstance(self.outage, TargetUnavailable) and not isinstance(self.outage, ServerError | RequestAbandoned):
            raise self.outage
        ids = [value for name, _, values in filters if name == "event_id" for value in values]
        return [{"name": each, "event_id": each} for each in ids if each in self.rows]


class Target(ErpnextTarget):
    """The real target, whose requests take virtual time instead of a thread's."""

    def __init__(self, site: Site, settings: SinkSettings) -> None:
        super().__init__(lambda: site, settings.concurrency, settings.batch)  # type: ignore[arg-type,return-value]
        self._site = site

    async def open(self) -> None:
        self._site.passed = 0.0
        self._site.get_list("Employee Checkin", [])

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Any]:
        site = self._site
        site.passed = 0.0
        documents = {
            index: {"employee": each.employee, "event_id": each.event_id, "time": str(each.event_time)}
            for index, each in enumerate(checkins)
        }
        results: dict[int, Any] = {}
        call = Call(site, documents, results, clock=lambda: site.passed)  # type: ignore[arg-type]
        otherwise = None
        try:
            call.send(documents)
        except TargetUnavailable as error:
            otherwise = error
        seconds = site.passed
        await asyncio.sleep(seconds)
        return [results.get(index, otherwise if index not in call.skipped else None) for index in range(len(checkins))]


class Scene:
    def __init__(self, site: Site, **changes: Any) -> None:
        self.site = site
        self.loop = asyncio.get_running_loop()
        self.dead_letters: list[DeadLetter] = []
        self.delivered: dict[str, float] = {}
        self.added: dict[str, float] = {}
        self.numbers = 0
        options = SinkSettings(**{"concurrency": 4, "batch": 100} | changes)
        self.deliverer = Deliverer(
            Target(site, options),
            options,
            Metrics(),
            employee_exists=lambda _: True,
            writer=OutcomeWriter("erpnext", TOPICS, Metrics(), self.publish, _no_raw_records),
            clock=self.loop.time,
        )
        self.stop = asyncio.Event()
        self.workers = [asyncio.create_task(self.deliverer.work(self.stop)) for _ in range(self.deliverer.workers)]

    async def publish(self, outcomes: Sequence[tuple[Record, OutRecord]]) -> None:
        for _, outcome in outcomes:
            if outcome.topic == TOPICS["deliveries"]:
                self.delivered[Delivery.decode(outcome.value).event_id] = self.loop.time()
            else:
                self.dead_letters.append(DeadLetter.decode(outcome.key, outcome.value, outcome.headers))

    def punch(self, employee: str) -> str:
        self.numbers += 1
        name = f"{employee}-{self.numbers}"
        checkin = Checkin(
            event_id=name,
            employee=employee,
            event_time=datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(seconds=self.numbers),
            log_type="IN",
            device_id="D1",
            device_user_id="7",
            site="HQ",
            device_timezone="Asia/Riyadh",
        )
        self.added[name] = self.loop.time()
        self.deliverer.add(QueuedCheckin(CheckinRecord(self.numbers), checkin))
        return name

    async def end(self) -> None:
        self.stop.set()
        self.deliverer.wake()
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)


async def _no_raw_records(_places: object) -> dict[tuple[int, int], Record]:
    return {}


def delays(scene: Scene, names: Sequence[str]) -> list[float]:
    """How long each punch of those took until it was delivered; what was not, until now."""
    return [scene.delivered.get(name, scene.loop.time()) - scene.added[name] for name in names]


@given(
    st.lists(st.sampled_from(["", "", *KINDS]), min_size=2, max_size=60),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_whoever_fails_and_how_the_others_are_delivered_within_bounds(
    kinds: list[str], concurrency: int, random: Any
) -> None:
    site = Site({f"E{number}": kind for number, kind in enumerate(kinds) if kind})
    healthy = [f"E{number}" for number, kind in enumerate(kinds) if not kind]
    bad = len(kinds) - len(healthy)
    holding = sum(KINDS[kind][0] > 0 for kind in kinds if kind)

    async def play() -> None:
        scene = Scene(site, concurrency=concurrency)
        rounds: list[list[str]] = []
        # At first nobody is known to fail: those that hold up a request are found one by one.
        found_after = 10 + bad / 4 + 2 * TIMEOUT * holding
        for seconds in (max(120, found_after), 120, 120, 120, 120, 120):
            everyone = [f"E{number}" for number in range(len(kinds))]
            random.shuffle(everyone)
            rounds.append([name for each in everyone if (name := scene.punch(each)).split("-")[0] in healthy])
            await asyncio.sleep(seconds)
        await scene.end()
        assert max(delays(scene, rounds[0]), default=0) < found_after
        for names in rounds[1:]:
            assert set(names) <= set(scene.delivered)
        # Where hardly anybody else is there to show that the site is well, others may wait for one that holds it up.
        later = [delay for names in rounds[2:] for delay in delays(scene, names)]
        assert max(later, default=0) < 5 + bad / 4 + TIMEOUT * bool(holding)
        assert site.requests < 60 * 12 * len(kinds)
        assert {letter.event_id.split("-")[0] for letter in scene.dead_letters if letter.event_id} <= set(site.failing)

    with structlog.testing.capture_logs():
        run_in_virtual_time(play())


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("kind", ["", "broken"])
def test_no_outage_makes_a_dead_letter_and_delivery_goes_on_within_seconds_of_its_end(outage: str, kind: str) -> None:
    site = Site({"E0": kind} if kind else {})

    async def play() -> None:
        scene = Scene(site)
        scene.punch("E1")
        await asyncio.sleep(5)
        site.outage = OUTAGES[outage]
        for _ in range(15):
            for number in range(20):
                scene.punch(f"E{number}")
            await asyncio.sleep(60)
        assert scene.dead_letters == []
        asked = site.requests
        await asyncio.sleep(600)
        assert site.requests - asked < 600 * 5
        site.outage = None
        await asyncio.sleep(15 if outage != "rate limit" else 61)
        assert len(scene.delivered) > 0.9 * (len(scene.added) - 60), (outage, len(scene.delivered))
        assert scene.dead_letters == []
        await scene.end()

    with structlog.testing.capture_logs():
        run_in_virtual_time(play())


def test_what_fails_is_said_at_once_and_then_at_growing_intervals_in_the_sites_own_words() -> None:
    site = Site({f"E{number}": "forbidden" for number in range(5)})

    async def play() -> None:
        scene = Scene(site)
        for number in range(6):
            scene.punch(f"E{number}")
        await asyncio.sleep(1)
        said = [entry for entry in logs if entry["event"].startswith("The target fails on a check-in")]
        assert {entry["employee"] for entry in said} == set(site.failing)
        assert all("403 PermissionError: User Permission" in entry["error"] for entry in said)
        await asyncio.sleep(3600)
        assert len([entry for entry in logs if entry.get("employee") == "E0"]) < 10
        await scene.end()

    with structlog.testing.capture_logs() as logs:
        run_in_virtual_time(play())
