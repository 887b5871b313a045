"""Progress: where a stage begins in the partitions of a topic, what it lacks there, and its account."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Final, Literal, NamedTuple, NoReturn

import structlog

from attendance.accounts import Found, Missing, Partition, begin, fingerprint, is_fingerprint_of
from attendance.adoptions import Moves
from attendance.errors import KafkaUnavailable
from attendance.kafka.accounts import AccountsTopic
from attendance.kafka.lag import Lag
from attendance.kafka.readers import Extent, PlaceReader
from attendance.metrics import Metrics
from attendance.records.account import Account
from attendance.runtime import made_anew
from attendance.settings import KafkaSettings
from attendance.times import now

log = structlog.get_logger(__name__)

DAY_SECONDS: Final = 86400
WRITE_SECONDS: Final = 60.0
"""Between two accounts of a stage."""
CHECK_SECONDS: Final = 60.0
"""Between two looks at partitions that are read."""
LOOK_SECONDS: Final = 5.0
"""Between two looks while records are missing."""


async def _tell_nobody() -> None: ...


class Progress:
    """One stage's progress in one topic. It is a guard: a stage in whose partitions records are missing stands still.

    One task begins, and one writes.
    """

    cause: Literal["offsets"] = "offsets"

    def __init__(
        self,
        kafka: KafkaSettings,
        stage: str,
        topic: str,
        accounts: AccountsTopic,
        metrics: Metrics,
        *,
        has_group: bool = True,
    ) -> None:
        """Nothing is read or asked yet.

        Args:
            kafka: How to reach Kafka.
            stage: Whose progress.
            topic: The full name of the topic.
            accounts: The accounts of all stages. Somebody has it follow its topic.
            metrics: What is shown.
            has_group: Whether the stage's offsets are those of a consumer group.
        """
        self._has_group = has_group
        self._stage = stage
        self._topic = topic
        self._accounts = accounts
        self._metrics = metrics
        self._retention = kafka.retention_days * DAY_SECONDS
        self._places = PlaceReader(kafka, topic, kafka.client_id(f"{stage}-progress"))
        self._missing: dict[int, Missing] = {}
        self._is_told = True
        self._first: dict[int, int] = {}
        self._untouched: dict[int, int] = {}
        self.on_change: Callable[[], Awaitable[None]] = _tell_nobody
        """Awaited when other records are missing than before."""
        self.look: Callable[[], Awaitable[None]] = _tell_nobody
        """Awaited before an answer, by a stage that looks at its partitions at no other time while it stands still."""

    @property
    def missing(self) -> Mapping[int, Missing]:
        """The partitions in which records are missing."""
        return self._missing

    async def keep_lag(self, done: Callable[[], Mapping[int, int | None]]) -> NoReturn:
        """Show for ever how far the stage is behind in this topic. That nobody sees it is no reason to do nothing else.

        Args:
            done: The partitions that the stage has now, and up to which offset each is done; None where nothing is.
        """
        self._metrics.gauge("punchstream_retention_seconds", self._retention, topic=self._topic)
        await made_anew(partial(Lag(self._places, self._topic, self._metrics).keep, done))

    async def until_known(self) -> None:
        """Return once every account and adoption is known that was there at the start."""
        await self._accounts.caught_up.wait()

    @property
    def moves(self) -> Moves:
        """Where records are now, by the adoptions."""
        return self._accounts.moves

    def is_untouched(self, number: int, offset: int) -> bool:
        """Whether it is certain that the stage has done nothing of what was before a record.

        That is so where all of it is an accepted loss, and the stage had not begun with it.

        Args:
            number: A partition that it has begun.
            offset: That of the record.
        """
        return offset <= self._untouched.get(number, -1)

    async def find_reason(self) -> str | None:
        """Why the stage may not go on: what is missing, and what to do. None where nothing is."""
        await self.look()
        return " ".join(str(each) for _, each in sorted(self._missing.items())) or None

    async def begin(self, committed: Mapping[int, int | None]) -> dict[int, int]:
        """Where to begin in partitions. Those in which records are missing are left out. Waits for Kafka.

        Args:
            committed: The partitions, and the offset that each is at, None where there is none.
        """
        await self._accounts.caught_up.wait()
        extents = await self._places.extents(committed)
        before, places = dict(self._missing), {}
        for number, offset in committed.items():
            place = await self._begin(number, offset, extents[number])
            if isinstance(place, Missing):
                self._missing[number] = place
            else:
                self._missing.pop(number, None)
                places[number] = place
        await self._show(before)
        return places

    async def _begin(self, number: int, committed: int | None, extent: Extent) -> int | Missing:
        of = Partition(self._stage, self._topic, number)
        account = self._accounts.account(*of)
        accepted = self._accounts.accepted(*of)
        found = Found(*extent, await self._is_same(account, extent))
        place = begin(of, committed, account, accepted, found)
        if isinstance(place, Missing):
            return place
        lacked = begin(of, committed, account, None, found)
        if isinstance(lacked, Missing):
            assert accepted is not None
            log.warning(
                "Going on after a loss that was accepted.",
                topic=self._topic,
                partition=number,
                records=lacked.records,
                offset=place,
                by=accepted.by,
                note=accepted.note,
            )
            if lacked.first == 0 and not lacked.anew:
                self._untouched[number] = place
        elif committed is None and account is not None and self._has_group:
            log.warning(
                "The group has no committed offset any more; going on by the account of this stage.",
                topic=self._topic,
                partition=number,
                account=account.through,
                offset=place,
            )
        if account is None:
            self._first[number] = min(extent.first, place)
        elif isinstance(lacked, Missing) and lacked.anew:
            self._first[number] = place
        return place

    async def _is_same(self, account: Account | None, extent: Extent) -> bool | None:
        if account is None or account.identity is None or account.identity.offset < extent.first:
            return None
        place = (account.partition, account.identity.offset)
        record = (await self._places([place])).get(place)
        return record is not None and is_fingerprint_of(account.identity, record)

    def lost(self, kept: Collection[int] = ()) -> None:
        """Partitions are not ours any more.

        Args:
            kept: Those that are.
        """
        for number in self._untouched.keys() - set(kept):
            del self._untouched[number]  # another may do something meanwhile
        for number in self._missing.keys() - set(kept):
            self._is_told = False
            del self._missing[number]
            self._metrics.forget("punchstream_records_missing", topic=self._topic, partition=str(number))

    async def _show(self, before: Mapping[int, Missing]) -> None:
        for number in before.keys() - self._missing.keys():
            self._metrics.forget("punchstream_records_missing", topic=self._topic, partition=str(number))
        for number, missing in self._missing.items():
            self._metrics.gauge(
                "punchstream_records_missing", missing.records, topic=self._topic, partition=str(number)
            )
        if before != self._missing or not self._is_told:
            self._is_told = True
            await self.on_change()

    async def write(self, committed: Mapping[int, int | None]) -> None:
        """Write the account of each partition that has come further. What Kafka does not take is written later.

        Args:
            committed: The offset that is committed in each partition, None where there is none.
        """
        further = {}
        for number, offset in committed.items():
            account = self._accounts.account(self._stage, self._topic, number)
            # Offsets that somebody sets back are no less accounted for.
            is_further = account is None or number in self._first or (offset is not None and offset > account.through)
            if offset is not None and is_further and number not in self._missing:
                further[number] = offset
        try:
            if further and (accounts := await self._account_for(further)):
                await self._accounts.put(*accounts)
        except KafkaUnavailable as error:
            log.warning("Could not write how far this stage has come; trying again.", error=str(error))

    async def write_ends(self, partitions: Collection[int]) -> None:
        """The same of partitions of which everything that is there is accounted for.

        Args:
            partitions: Their numbers.
        """
        extents = await self._places.extents(partitions)
        await self.write({number: extent.end for number, extent in extents.items()})

    async def _account_for(self, further: Mapping[int, int]) -> list[Account]:
        extents = await self._places.extents(further)
        wanted = {number: (number, offset - 1) for number, offset in further.items()}
        records = await self._places(list(wanted.values()))
        at = now()
        accounts = []
        for number, offset in further.items():
            before = self._accounts.account(self._stage, self._topic, number)
            is_known = number in self._first or await self._is_same(before, extents[number]) is not False
            if offset > extents[number].end or not is_known:
                continue  # made anew meanwhile. The next look finds that by the account as it is
            record = records.get(wanted[number])
            # What was before a topic was made anew is not in it.
            known = None if before is None or number in self._first else before.identity
            identity = known if record is None else fingerprint(record)
            first = self._first.pop(number, None)
            if first is None:
                first = min(extents[number].first, offset) if before is None else before.first
            accounts.append(Account(self._stage, self._topic, number, first, offset, at, identity, extents[number].end))
        return accounts

    async def close(self) -> None:
        """Let go of the consumer."""
        await self._places.close()


class Place(NamedTuple):
    """Where to go in a partition.

    `before` is where it was: the committed offset of one that `is_first` read, or the next offset.
    """

    offset: int
    before: int | None
    is_first: bool


class Placement:
    """Which of the partitions that a consumer has may be read: those in which it has its place, and lacks nothing."""

    def __init__(self, progress: Progress) -> None:
        """No partition is assigned.

        Args:
            progress: Says where to begin.
        """
        self._progress = progress
        self._looked_at: set[int] = set()
        self._at: dict[int, bool] = {}
        self._look_at = 0.0
        self._revoked = 0

    @property
    def placed(self) -> Collection[int]:
        """The partitions that may be read."""
        return {number for number, is_placed in self._at.items() if is_placed}

    def revoke(self) -> None:
        """The partitions are not ours any more."""
        self._revoked += 1
        self._looked_at.clear()
        self._at.clear()
        self._progress.lost()

    def look_soon(self) -> None:
        """Look again at the next opportunity, for Kafka said that an offset is not there."""
        self._look_at = 0.0

    async def look(
        self,
        assigned: Collection[int],
        committed: Callable[[int], Awaitable[int | None]],
        next_offset: Callable[[int], Awaitable[int]],
    ) -> Mapping[int, Place]:
        """Look at partitions that are new, and now and then at all.

        Args:
            assigned: The partitions that the consumer has.
            committed: What is committed in a partition.
            next_offset: That of the consumer in one that has its place.

        Returns:
            Where to go in the partitions that are not there yet.

        Raises:
            KafkaUnavailable: A partition that is read was made anew. What was fetched of it is of no use to anybody.
        """
        clock = asyncio.get_running_loop().time
        is_due = clock() >= self._look_at
        wanted = [number for number in assigned if is_due or number not in self._looked_at]
        if not wanted:
            return {}
        revoked = self._revoked
        at = {number: await (next_offset if number in self._at else committed)(number) for number in wanted}
        found = await self._progress.begin(at)
        if revoked != self._revoked:
            # Nobody here would look again at what was just found missing in partitions that are another's now.
            self._progress.lost()
            return {}
        for number, missing in self._progress.missing.items():
            if number in self._at and missing.anew:
                raise KafkaUnavailable(str(missing))
        places = {
            number: Place(offset, at[number], number not in self._at)
            for number, offset in found.items()
            if number not in self._at or offset != at[number]
        }
        self._looked_at |= at.keys()
        self._at |= {number: number in found for number in wanted if number in self._at or number in found}
        self._look_at = clock() + (LOOK_SECONDS if self._progress.missing else CHECK_SECONDS)
        return places
