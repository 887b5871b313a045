"""Writes the stream's changelog anew without a person, and deletes what was before.

The stream must not run: it would go on with what it has in memory, and its stores on disk would be those of a changelog
that is gone. Whoever reads a changelog takes the union of its records, in any order. So nothing is lost wherever this
is cut off: until the old records are deleted, the new ones say the same once more.
"""

import json
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, cast

from attendance.accounts import fingerprint
from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka.records import OutRecord, Record
from attendance.records.account import Account
from attendance.removal import Cluster
from attendance.times import now
from operations.audit_accounts import Accounts, read_moves
from operations.log import Log, Send
from operations.persons import Pair, Person
from streams.dedup import Kept, Punch
from streams.erased import erasure
from streams.state import FLOOR_KEY, as_of_now, decode, encode, floor_before, floor_in, whole_from_here

REWRITE_WHILE_STOPPED: Final = (
    "What it has on disk of the person it makes anew when it starts; terminals are answered meanwhile"
)
STAGE: Final = "stream"
PUNCHES: Final = 5_000
"""So many in one record of the new changelog at most."""
_KEY_BYTES: Final = 8


class ChangelogRewriting:
    """One rewriting, of the partitions that have something of a person."""

    def __init__(self, log: Log, cluster: Cluster, person: Person, ahead: float) -> None:
        """Nothing is done yet.

        Args:
            log: The topics.
            cluster: Kafka.
            person: Who goes.
            ahead: The setting `FUTURE_TOLERANCE`, in seconds.
        """
        self._log = log
        self._cluster = cluster
        self._person = person
        self._ahead = ahead
        self._topic = log.topics["dedup_state"]

    async def try_to_delete(self) -> None:
        """Delete no record, as `rewrite` deletes some: whoever may not learns that before anything is changed.

        Raises:
            KafkaUnavailable: Kafka does not answer, or does not let us.
        """
        extents = await self._log.extents("dedup_state")
        await self._cluster.remove_before(self._topic, {number: first for number, (first, _) in extents.items()})

    async def rewrite(self) -> int:
        """Write each such partition anew.

        Returns:
            How many punches went.

        Raises:
            KafkaUnavailable: Kafka does not answer, or deleted nothing.
            ConfigurationError: the changelog is of a later version.
        """
        users = await self._find()
        return sum([await self._rewrite(number, entries) for number, entries in sorted(users.items())])

    async def _find(self) -> dict[int, dict[Pair, list[Kept]]]:
        """By partition and device user, what the changelog has of the person."""
        found: dict[int, dict[Pair, list[Kept]]] = defaultdict(lambda: defaultdict(list))
        async with aclosing(self._log.read("dedup_state")) as batches:
            async for batch in batches:
                for record in batch:
                    for kept in self._person.kept(record):
                        found[record.partition][_pair(kept)].append(kept)
        return found

    async def _rewrite(self, number: int, users: dict[Pair, list[Kept]]) -> int:
        _, end = (await self._log.extents("dedup_state"))[number]
        floor = await self._floor(number)
        erasures = [each for pair, entries in users.items() for each in self._erasures(pair, entries)]
        async with self._log.sending() as send:
            first = await self._send(send, number, [whole_from_here(floor, end), *erasures])
            went = 0
            async with aclosing(self._others(number, first)) as parts:
                async for part, gone in parts:
                    went += gone
                    if part:
                        await self._send(send, number, part)
            await self._account(send, number, first)
        await self._cluster.remove_before(self._topic, {number: first})
        if (await self._log.extents("dedup_state"))[number][0] < first:
            raise KafkaUnavailable(f"topic {self._topic}: the records before {first} were not deleted")
        return went

    def _erasures(self, pair: Pair, entries: Sequence[Kept]) -> list[Kept]:
        """What says up to when punches of a device user are kept back; if others have the number, up to the last."""
        newest = max(Punch.unpack(each.entry).seconds for each in entries)
        return erasure(entries[0].key, newest if self._person.is_shared(pair) else int(now().timestamp()))

    async def _floor(self, number: int) -> int:
        """Up to which time punches may have been kept that the changelog does not have."""
        floor: int | None = None
        async with aclosing(self._log.read("dedup_state", begin={number: None})) as batches:
            async for batch in batches:
                for record in batch:
                    punches = _punches(record)
                    before = floor_before(record, punches, self._ahead) if floor is None else floor
                    floor = max(before, floor_in(punches))
        return floor or 0

    async def _others(self, number: int, before: int) -> AsyncGenerator[tuple[list[Kept], int], None]:
        """What the changelog has before an offset of everybody else, in parts, and how many of the person's went."""
        part: list[Kept] = []
        went = 0
        moves = await read_moves(self._log)
        async with aclosing(self._log.read("dedup_state", begin={number: None})) as batches:
            async for batch in batches:
                for record in batch:
                    if record.offset >= before:
                        continue
                    for kept in as_of_now(_punches(record), record, moves, self._log.topics["raw"]):
                        if kept.key == FLOOR_KEY:
                            continue
                        if self._person.has_kept(kept):
                            went += 1
                        else:
                            part.append(kept)
                        if len(part) == PUNCHES:
                            yield part, went
                            part, went = [], 0
        yield part, went

    async def _send(self, send: Send, number: int, punches: Sequence[Kept]) -> int:
        """Write a record of the changelog. Returns its offset."""
        record = OutRecord(self._topic, os.urandom(_KEY_BYTES), encode(punches), partition=number)
        offsets = cast("Mapping[tuple[str, int], int]", await send(record))
        return offsets[self._topic, number]

    async def _account(self, send: Send, number: int, first: int) -> None:
        """On behalf of the stream, which is stopped: everything that is there is accounted for."""
        _, end = (await self._log.extents("dedup_state"))[number]
        last = (await self._log.at("dedup_state", [(number, end - 1)])).get((number, end - 1))
        accounts = Accounts()
        await accounts.read(self._log)
        before = accounts.account(STAGE, self._topic, number)
        account = Account(
            STAGE,
            self._topic,
            number,
            first if before is None else before.first,
            end,
            now(),
            None if last is None else fingerprint(last),
            end,
        )
        await send(OutRecord(self._log.topics["accounts"], account.key, account.encode()))


def _punches(record: Record) -> list[Kept]:
    try:
        return decode(record.value)
    except InvalidRecord:
        return []


def _pair(kept: Kept) -> Pair:
    device_id, user = json.loads(kept.key)
    return device_id, user
