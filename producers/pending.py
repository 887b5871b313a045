"""Serial numbers that ask to be let in: ranked by how likely each is a terminal, so that made-up ones hide none.

Whoever knocks may make up serial numbers and addresses. A terminal comes again and again, from one address. So much is
kept and written as is bounded. What makes room is what came once, most of all in a crowd, and where most others are.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Final

import structlog
from msgspec.structs import replace

from attendance.kafka.records import OutRecord
from attendance.records.terminals import PendingDevice, PendingKey
from attendance.times import format_seconds, now
from attendance.wire import encode_json

log = structlog.get_logger(__name__)

MOST: Final = 1000
"""Serial numbers that are remembered, beside those of entries that have moved."""
MOST_CLIENTS: Final = 8
"""Addresses that are remembered of each."""
VISIT: Final = 30.0
"""Seconds. What comes within one such stretch of time is one visit."""
VISITS_KEPT: Final = 16
"""Stretches of time for which it is remembered who came in them, kept or not."""
CROWD: Final = 10
"""More new serial numbers than this within a second are a crowd."""
WRITE_AGAIN: Final = 60.0
"""Seconds between two records of one serial number."""
AT_ONCE: Final = 100
"""Records that are written together."""
SAID: Final = 20
"""Log lines a minute."""
_MINUTE: Final = 60.0
_FACT: Final = 64  # characters
_LOOKED_AT: Final = 32

_BITS: Final = 20
_HASHES: Final = 4
_MOST_NOTED: Final = 200_000  # of one stretch; with more, nearly everybody would seem to have been there

Key = tuple[str, str]

_CROWDED, _ONCE, _REGULAR = range(3)


@dataclass(slots=True)
class _Kept:
    device: PendingDevice
    group: str
    rank: int
    visit: int
    written_at: float | None = None


class PendingDevices:
    """The serial numbers in memory: those that came to this process, and what the topic has of others.

    Args:
        clock: Seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Key, _Kept] = {}
        # By rank and group, the longest silent first. Those of entries are in none, and make no room.
        self._ranks: tuple[dict[str, dict[Key, None]], ...] = tuple(defaultdict(dict) for _ in range(3))
        self._number = 0
        self._visits = _Visits()
        self._new: dict[Key, None] = {}
        self._removed: dict[Key, None] = {}
        self._crowd = (0, 0)
        self._said = (0, 0)

    def apply(self, key: PendingKey, value: bytes | None) -> None:
        """Take in one record of the topic.

        Raises:
            InvalidRecord: it is no pending device; what is known is unchanged.
        """
        about = key.adapter, key.serial
        if value is None:
            self._forget(about)
            self._removed.pop(about, None)
            return
        device = PendingDevice.decode(value)
        known = self._kept.get(about)
        visit = self._visit()
        if known is None:
            rank = _REGULAR if device.visits > 1 else _ONCE
            if self._make_room(device, rank):
                self._keep(about, _Kept(device, _group(device.client), rank, visit, self._clock()))
        elif about not in self._new:
            known.device = device
            self._touch(about, known, known.visit)

    def note(
        self, adapter: str, serial: str, client: str | None, facts: Mapping[str, str], device_id: str | None = None
    ) -> None:
        """Take in one request of a terminal that is not let in.

        Args:
            adapter: The adapter whose protocol it speaks.
            serial: Its serial number.
            client: The address that it connected from.
            facts: What it said of itself, to show to whoever has to approve it.
            device_id: The device whose entry has this serial number and not this address.
        """
        key, visit, moment = (adapter, serial), self._visit(), format_seconds(now())
        seen = self._visits.add(key, visit)
        short = {name: value[:_FACT] for name, value in facts.items()}
        known = self._kept.get(key)
        if known is None:
            device = PendingDevice(adapter, serial, moment, moment, 0, client, short, device_id, {}, seen)
            rank = _REGULAR if seen > 1 else _CROWDED if self._is_crowded() else _ONCE
            if not self._make_room(device, rank):
                return
            known = _Kept(device, _group(client), rank, visit)
            self._keep(key, known)
        else:
            came_again = visit != known.visit
            device = replace(known.device, visits=known.device.visits + came_again, device_id=device_id)
            known.rank = _REGULAR if device.visits > 1 else known.rank
        known.device = replace(
            device,
            last_seen=moment,
            requests=device.requests + 1,
            client=client,
            facts=short or device.facts,
            clients=_with(device.clients, client),
        )
        self._touch(key, known, visit)
        self._new[key] = None
        self._removed.pop(key, None)

    def due(self, topic: str) -> list[OutRecord]:
        """The records to write now, until `lost` says otherwise; those that came most often first.

        Args:
            topic: The full name of the terminals topic.
        """
        moment = self._clock()
        removed = list(self._removed)[:AT_ONCE]
        for key in removed:
            del self._removed[key]
        records = [OutRecord(topic, encode_json(PendingKey(*key)), None) for key in removed]
        due = [key for key in self._new if _is_due(self._kept[key], moment)]
        due.sort(key=lambda key: (self._kept[key].device.device_id is None, -self._kept[key].rank))
        for key in due[:AT_ONCE]:
            known = self._kept[key]
            if known.written_at is None:
                self._say(known.device)
            known.written_at = moment
            del self._new[key]
            records.append(OutRecord(topic, known.device.key, known.device.encode()))
        return records

    def lost(self, keys: Iterable[PendingKey]) -> None:
        """Write these again: Kafka may not have what `due` returned of them.

        Args:
            keys: What the keys of the records say.
        """
        for about in keys:
            key = about.adapter, about.serial
            known = self._kept.get(key)
            if known is None:
                self._removed[key] = None
            else:
                known.written_at = None
                self._new[key] = None

    def all(self) -> list[PendingDevice]:
        """The serial numbers: of entries that have moved first, then by how likely each is a terminal."""
        beside: dict[str, int] = defaultdict(int)
        for known in self._kept.values():
            beside[known.group] += 1
        found = sorted(self._kept.values(), key=lambda each: each.device.last_seen, reverse=True)
        found.sort(
            key=lambda each: (
                each.device.device_id is None,
                -min(each.device.visits, VISITS_KEPT),
                beside[each.group] + len(each.device.clients),
            )
        )
        return [each.device for each in found]

    def _visit(self) -> int:
        return int(self._clock() // VISIT)

    def _is_crowded(self) -> bool:
        second, number = self._crowd
        current = int(self._clock())
        self._crowd = (current, number + 1 if second == current else 1)
        return self._crowd[1] > CROWD

    def _say(self, device: PendingDevice) -> None:
        minute, number = self._said
        current = int(self._clock() // _MINUTE)
        if minute != current:
            if number > SAID:
                log.warning("More unknown terminals connected than are logged.", left_out=number - SAID)
            number = 0
        self._said = (current, number + 1)
        if number < SAID:
            log.warning(
                "An unknown terminal connected; it waits for approval."
                if device.device_id is None
                else "A terminal connected from another address than those of its entry; it waits for approval anew.",
                adapter=device.adapter,
                serial=device.serial,
                client=device.client,
                device_id=device.device_id,
            )

    def _keep(self, key: Key, known: _Kept) -> None:
        self._kept[key] = known
        if known.device.device_id is None:
            self._number += 1
            self._ranks[known.rank][_among(known)][key] = None

    def _touch(self, key: Key, known: _Kept, visit: int) -> None:
        """Put it where it belongs, as the one that came last."""
        self._leave(key, known)
        known.visit = visit
        known.group = _group(known.device.client)
        self._keep(key, known)

    def _leave(self, key: Key, known: _Kept) -> None:
        for groups, group in zip(self._ranks, ("", known.group, known.group), strict=True):
            keys = groups.get(group)
            if keys is not None and key in keys:
                del keys[key]
                self._number -= 1
                if not keys:
                    del groups[group]

    def _forget(self, key: Key) -> None:
        known = self._kept.pop(key, None)
        if known is not None:
            self._leave(key, known)
            self._new.pop(key, None)

    def _make_room(self, device: PendingDevice, rank: int) -> bool:
        """Whether there is room for one more of a rank: one of the same or of a lower rank makes some."""
        if device.device_id is not None or self._number < MOST:
            return True
        for groups in self._ranks[: rank + 1]:
            if groups:
                keys = groups[max(groups, key=lambda group: len(groups[group]))]
                leaves = next(iter(keys))
                if groups is self._ranks[_REGULAR]:
                    leaves = min(islice(keys, _LOOKED_AT), key=lambda each: self._kept[each].device.visits)
                if self._kept[leaves].written_at is not None and len(self._removed) < MOST:
                    self._removed[leaves] = None
                self._forget(leaves)
                return True
        return False


class _Visits:
    """Who came in which stretch of time, as far as some bits can tell: nobody who did is missing."""

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, bytearray]] = deque(maxlen=VISITS_KEPT)
        self._noted = 0

    def add(self, key: Key, visit: int) -> int:
        """Note that somebody came, and return in how many of the stretches they did."""
        if not self._stretches or self._stretches[-1][0] != visit:
            while self._stretches and self._stretches[0][0] <= visit - VISITS_KEPT:
                self._stretches.popleft()
            self._stretches.append((visit, bytearray(1 << (_BITS - 3))))
            self._noted = 0
        places = _places(key)
        if self._noted < _MOST_NOTED:
            self._noted += 1
            for place in places:
                self._stretches[-1][1][place >> 3] |= 1 << (place & 7)
        earlier = sum(
            all(bits[place >> 3] >> (place & 7) & 1 for place in places)
            for number, bits in self._stretches
            if number != visit
        )
        return 1 + earlier


def _places(key: Key) -> list[int]:
    digest = int.from_bytes(blake2b("|".join(key).encode(errors="surrogatepass"), digest_size=16).digest(), "big")
    return [digest >> (_BITS * each) & ((1 << _BITS) - 1) for each in range(_HASHES)]


def _among(known: _Kept) -> str:
    """Beside whom it is ranked. A crowd is one, wherever it is from."""
    return "" if known.rank == _CROWDED else known.group


def _is_due(known: _Kept, moment: float) -> bool:
    return known.written_at is None or moment - known.written_at >= WRITE_AGAIN


def _with(clients: Mapping[str, int], client: str | None) -> Mapping[str, int]:
    """How many requests came from each address, of which the first few are kept."""
    if client is None or (client not in clients and len(clients) >= MOST_CLIENTS):
        return clients
    return {**clients, client: clients.get(client, 0) + 1}


def _group(client: str | None) -> str:
    """Whose address it is: a network of IPv6 has more addresses than anybody can remember."""
    try:
        address = ip_address(client or "")
    except ValueError:
        return client or ""
    return str(ip_network(f"{address}/64", strict=False)) if address.version == 6 else str(address)
