"""An installation in memory whose topics can be restored at other offsets: the real step and state, a plain sink."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from memory_log import Begin, MemoryLog, StoredRecord
from msgspec.structs import replace

from attendance.accounts import Accounts, Found, Partition, begin, fingerprint, is_fingerprint_of
from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.account import Account
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.times import now
from attendance.topics import TABLE, Name
from attendance.user_map import UserMap
from operations.log import Send
from streams import state as state_module
from streams.open_store import open_dict_store
from streams.pipeline import Pipeline, Rules
from streams.state import DeduplicationState
from streams.step import Step

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
DEVICE = Device.model_validate({"device_id": "D1", "site": "s", "timezone": "UTC", "token_sha256": "0" * 64})
RULES = Rules(60, 90 * 86400, future_tolerance=300, clock_tolerance=600)
STAGES: Mapping[str, Name] = {"stream": "raw", "sink": "checkins"}


def punch(minute: int, user: str = "1") -> RawEvent:
    """A punch of a user whose employee is known, unless it is user 9."""
    time = START + timedelta(minutes=minute)
    return RawEvent("D1", "s", user, "IN", time, None, "UTC", time, Source("push", "json"))


class Cluster(MemoryLog):
    """Every topic with one partition. What is sent stands on its topic, under a new time."""

    def __init__(self) -> None:
        super().__init__("attendance")
        self.clock = 1_772_427_600_000
        self._names = {self.topics[name]: name for name in TABLE}

    def write(self, record: OutRecord) -> StoredRecord:
        self.clock += 1000
        name = self._names[record.topic]
        return self.add(name, record.key, record.value, record.headers, timestamp=self.clock)

    async def send(self, *records: OutRecord) -> dict[tuple[str, int], int]:
        return {(each.topic, 0): self.write(each).offset for each in records}

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        yield self.send

    def end(self, name: Name) -> int:
        return asyncio.run(self.extents(name))[0][1]

    async def read_topic(
        self, _kafka: object, topic: str, _client: str, since: datetime | None, begin: Begin
    ) -> AsyncIterator[list[StoredRecord]]:
        async for batch in self.read(
            self._names[topic], since=None if begin.get(0) is not None else since, begin=begin
        ):
            if batch:
                yield batch


class Installation:
    """A stream and a sink on a cluster, each a process that may end at any moment."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._arrived = 0
        self.rows: dict[str, int] = {}
        """By event, how often the target was given it."""
        self.users = UserMap()
        for entry in (Employee("E1", "Active"), UserMapping("*", "1", "E1", "csv"), UserMapping("*", "2", "E1", "csv")):
            self.users.apply(entry.key, entry.encode())
        self.use(Cluster())

    def use(self, cluster: Cluster) -> None:
        """The stages start on a cluster, if nothing is missing there."""
        self.log = cluster
        self._patch.setattr(state_module, "read", cluster.read_topic)
        self._patch.setattr(state_module, "now", lambda: datetime.fromtimestamp(cluster.clock / 1000, UTC))
        self.start()

    def start(self) -> None:
        self.at: dict[str, int] = {}
        self.state = DeduplicationState(
            KafkaSettings.load(), cast("Producer", self.log), RULES.horizon, 300, open_dict_store
        )
        accounts = self.accounts()
        self.state.moves = lambda: accounts.moves
        self.step = Step(
            Pipeline(RULES, self.users, lambda _: DEVICE),
            self.state,
            cast("Producer", self.log),
            self.log.topics,
            Metrics(),
        )
        asyncio.run(self.state.catch_up([0]))

    def accounts(self) -> Accounts:
        found = Accounts()
        for record in self.log.records("accounts"):
            found.learn(record)
        return found

    def place(self, stage: str) -> Any:
        """Where a stage begins, or what it lacks."""
        name = STAGES[stage]
        of = Partition(stage, self.log.topics[name], 0)
        accounts = self.accounts()
        account = accounts.account(*of)
        first, end = asyncio.run(self.log.extents(name))[0]
        is_same = None
        if account is not None and account.identity is not None and account.identity.offset >= first:
            found = {each.offset: each for each in self.log.records(name)}.get(account.identity.offset)
            is_same = found is not None and is_fingerprint_of(account.identity, found)
        committed = self.log.groups.get((stage, name), {}).get(0)
        return begin(of, committed, account, accounts.accepted(*of), Found(first, end, is_same))

    def _next(self, stage: str, most: int) -> list[StoredRecord]:
        if stage not in self.at:
            place = self.place(stage)
            assert isinstance(place, int), str(place)
            self.at[stage] = place
        records = [each for each in self.log.records(STAGES[stage]) if each.offset >= self.at[stage]]
        return sorted(records, key=lambda each: each.offset)[:most]

    def arrive(self, *events: RawEvent) -> None:
        for each in events:
            self._arrived += 1
            event = replace(each, source=replace(each.source, batch_id=str(self._arrived)))
            self.log.write(OutRecord(self.log.topics["raw"], *event.record()))

    def stream(self, most: int = 1, *, dies: bool = False) -> None:
        """Decide some records; `dies` before they are committed."""
        records = self._next("stream", most)
        if records:
            asyncio.run(self.step({0: records}))
        if dies:
            self.start()
        elif records:
            self._commit("stream", records[-1].offset + 1)

    def sink(self, most: int = 1) -> None:
        records = self._next("sink", most)
        for record in records:
            checkin = Checkin.decode(record.value)
            if checkin.device_user_id == "2":  # the target refuses it
                letter = DeadLetter.of(
                    record, "sink", InvalidRecord(Reason.TARGET_REJECTED, "no"), now(), event_id=checkin.event_id
                )
                self.log.write(letter.to_record(self.log.topics["dead_letters"]))
                continue
            self.rows[checkin.event_id] = self.rows.get(checkin.event_id, 0) + 1
            delivery = Delivery(checkin.event_id, "E1", f"DOC-{checkin.event_id}", "created", "erpnext", now())
            self.log.write(OutRecord(self.log.topics["deliveries"], delivery.key, delivery.encode()))
        if records:
            self._commit("sink", records[-1].offset + 1)

    def _commit(self, stage: str, offset: int) -> None:
        self.at[stage] = offset
        self.log.groups[stage, STAGES[stage]] = {0: offset}

    def account(self) -> None:
        """Stages write their accounts."""
        for stage, name in (*STAGES.items(), ("stream", "dedup_state")):
            committed = self.log.end(name) if name == "dedup_state" else self.log.groups.get((stage, name), {}).get(0)
            before = self.accounts().account(stage, self.log.topics[name], 0)
            if committed is None or (before is not None and committed <= before.through):
                continue
            known = [each for each in self.log.records(name) if each.offset == committed - 1]
            first = asyncio.run(self.log.extents(name))[0][0]
            account = Account(
                stage,
                self.log.topics[name],
                0,
                min(first, committed) if before is None else before.first,
                committed,
                now(),
                fingerprint(known[0]) if known else None if before is None else before.identity,
                self.log.end(name),
            )
            self.log.write(OutRecord(self.log.topics["accounts"], account.key, account.encode()))

    def drain(self) -> None:
        """Everything that is there is decided and delivered, and accounted for."""
        self.stream(1000)
        self.sink(1000)
        self.account()

    def restored(
        self,
        begins: Mapping[Name, int],
        *,
        keep: Callable[[Name, StoredRecord], bool] = lambda *_: True,
        same_times: bool = False,
    ) -> Cluster:
        """A cluster of which every topic begins at another offset, without the groups' offsets."""
        cluster = Cluster()
        cluster.clock = self.log.clock + 3_600_000
        for name in TABLE:
            at = begins.get(name, 0)
            cluster.first[name, 0] = at
            cluster._ends[name, 0] = at
            for each in sorted(self.log.records(name), key=lambda each: each.offset):
                if keep(name, each):
                    cluster.clock += 1
                    cluster.add(
                        name,
                        each.key,
                        each.value,
                        each.headers,
                        offset=at,
                        timestamp=each.timestamp if same_times else cluster.clock,
                    )
                    at += 1
        return cluster

    def accounted(self, stage: str) -> int:
        """Up to where a stage has accounted for its topic."""
        account = self.accounts().account(stage, self.log.topics[STAGES[stage]], 0)
        return 0 if account is None else account.through
