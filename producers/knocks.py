"""Requests that push turned away, by address, cause and likely sender: so that a terminal at a wrong door is seen.

Whoever knocks may make up addresses and paths. So much of it is kept, written and logged as is bounded, and terminals
keep their room however many others knock.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from msgspec.structs import replace

from attendance.kafka.records import OutRecord
from attendance.records.terminals import Knock, KnockKey
from attendance.times import format_seconds, now
from attendance.wire import encode_json

log = structlog.get_logger(__name__)

NOT_FOUND: Final = "not_found"
METHOD_NOT_ALLOWED: Final = "method_not_allowed"
BROKEN_HEAD: Final = "broken_head"
HEAD_TOO_LARGE: Final = "head_too_large"
HEAD_TOO_SLOW: Final = "head_too_slow"
TLS: Final = "tls"

SENDERS: Final[Mapping[str, str]] = {
    "zkteco": "ZKTeco terminal (ADMS)",
    "hikvision": "Hikvision terminal",
    "hfsecurity": "HFSECURITY terminal (LAN API, HF-IMS or HeyStar)",
    "json": "program that speaks the JSON contract",
    "dahua": "Dahua terminal",
    "uniview": "Uniview terminal",
    "fk": "terminal of the FK protocol (BS, FKWeb)",
    "aiface": "terminal of the WebSocket protocol (AiFace)",
    "subscribe": "face panel that posts to /Subscribe",
    "android": "app on Android, as some terminals are",
    "unknown": "unknown",
    "browser": "browser",
    "monitor": "health check",
    "scanner": "scanner",
    "program": "program",
}
"""Everything that a sender may be taken for, by the word that stands for it."""

NO_TERMINALS: Final = frozenset({"browser", "monitor", "scanner", "program"})
"""Senders that no punch comes from. They never hide one that may be a terminal."""

MOST: Final = 500
"""Knocks of one sender that are remembered; whoever makes up addresses pushes out none of another sender."""
SILENT: Final = timedelta(minutes=10)
"""After this long a knock makes room for another."""
KEPT: Final = timedelta(days=7)
WRITE_AGAIN: Final = timedelta(seconds=60)
SAY_AGAIN: Final = timedelta(seconds=60)


@dataclass(slots=True)
class _Kept:
    """A knock with all its requests, how many of them are not on the topic, and when it was last written."""

    knock: Knock
    seen_at: datetime
    unwritten: int = 0
    written_at: datetime | None = None
    on_topic: bool = False


@dataclass(slots=True)
class _Unsaid:
    """What of a cause was not logged yet: how many requests, and the one that is worth most to whoever reads."""

    requests: int = 0
    knock: Knock | None = None
    why: str = ""
    said_at: datetime | None = None


@dataclass
class Knocks:
    """The knocks in memory: those of this process, and what the topic has of others.

    Args:
        clock: The server's, UTC.
    """

    clock: Callable[[], datetime] = now
    _kept: dict[str, dict[KnockKey, _Kept]] = field(default_factory=lambda: defaultdict(dict))  # longest silent first
    _new: set[KnockKey] = field(default_factory=set)
    _removed: set[KnockKey] = field(default_factory=set)
    _unsaid: dict[str, _Unsaid] = field(default_factory=lambda: defaultdict(_Unsaid))

    def apply(self, about: KnockKey, value: bytes | None) -> None:
        """Take in one record of the topic.

        Args:
            about: What its key says.
            value: Its value.

        Raises:
            InvalidRecord: it is no knock; what is known is unchanged.
        """
        kept = self._kept[about.sender]
        if value is None:
            if about not in self._new:
                kept.pop(about, None)
            return
        knock, known = Knock.decode(value), kept.pop(about, None)
        seen_at = _moment(knock.last_seen, self.clock())
        if known is None:
            self._make_room(about.sender)
            kept[about] = _Kept(knock, seen_at, on_topic=True)
            return
        newest = known.knock if known.unwritten else knock
        known.knock = replace(newest, first_seen=knock.first_seen, requests=knock.requests + known.unwritten)
        known.seen_at, known.on_topic = max(known.seen_at, seen_at), True
        kept[about] = known

    def note(self, knock: Knock, why: str = "") -> None:
        """Take in one request that was turned away. Writes nothing: the next `due` has it.

        Args:
            knock: The request; `first_seen`, `last_seen` and `requests` count for nothing.
            why: What was wrong, for the log.
        """
        moment = self.clock()
        knock = replace(knock, first_seen=format_seconds(moment), last_seen=format_seconds(moment), requests=1)
        self._note_unsaid(knock, why)
        self.say()
        about, kept = knock.about, self._kept[knock.sender]
        known = kept.pop(about, None)
        if known is None:
            if not self._make_room(knock.sender, moment):
                return
            known = _Kept(knock, moment)
        else:
            known.knock = replace(knock, first_seen=known.knock.first_seen, requests=known.knock.requests + 1)
        known.unwritten += 1
        known.seen_at = moment
        kept[about] = known
        self._new.add(about)
        self._removed.discard(about)

    def say(self) -> None:
        """Log what was noted, for each cause once a minute: a terminal's request sooner than anybody else's."""
        moment = self.clock()
        for cause, unsaid in self._unsaid.items():
            knock = unsaid.knock
            if knock is None or (unsaid.said_at is not None and moment - unsaid.said_at < SAY_AGAIN):
                continue
            (log.info if knock.sender in NO_TERMINALS else log.warning)(
                "Refused a request.",
                cause=cause,
                client=knock.client,
                method=knock.method,
                path=knock.path,
                status=knock.status,
                sender=SENDERS.get(knock.sender, knock.sender),
                user_agent=knock.user_agent,
                device_id=knock.device_id,
                why=unsaid.why,
                requests=unsaid.requests,
            )
            self._unsaid[cause] = _Unsaid(said_at=moment)

    def due(self, topic: str) -> list[OutRecord]:
        """The records to write now, once each until `lost` says otherwise: no knock twice within a minute.

        Args:
            topic: The full name of the terminals topic.
        """
        moment = self.clock()
        for kept in self._kept.values():
            oldest = next(iter(kept), None)
            if oldest is not None and moment - kept[oldest].seen_at >= KEPT:
                self._forget(oldest)
        records = [OutRecord(topic, encode_json(about), None) for about in self._removed]
        self._removed.clear()
        for about in list(self._new):
            known = self._kept[about.sender][about]
            if known.written_at is None or moment - known.written_at >= WRITE_AGAIN:
                records.append(OutRecord(topic, known.knock.key, known.knock.encode()))
                known.written_at, known.unwritten, known.on_topic = moment, 0, True
                self._new.discard(about)
        return records

    def lost(self, abouts: Sequence[KnockKey]) -> None:
        """Write these again: Kafka may not have what `due` returned of them.

        Args:
            abouts: What the keys of the records say.
        """
        for about in abouts:
            known = self._kept[about.sender].get(about)
            if known is None:
                self._removed.add(about)
            else:
                known.written_at = None
                self._new.add(about)

    def all(self) -> list[Knock]:
        """The knocks of the last seven days: what may be a terminal first, then the others, the latest last in each."""
        since = self.clock() - KEPT
        found = [each for kept in self._kept.values() for each in kept.values() if each.seen_at > since]
        found.sort(key=lambda each: (each.knock.sender in NO_TERMINALS, each.seen_at))
        return [each.knock for each in found]

    def _note_unsaid(self, knock: Knock, why: str) -> None:
        unsaid = self._unsaid[knock.cause]
        unsaid.requests += 1
        if unsaid.knock is None or unsaid.knock.sender in NO_TERMINALS:
            unsaid.knock, unsaid.why = knock, why

    def _make_room(self, sender: str, moment: datetime | None = None) -> bool:
        """Whether there is room for one more; a silent knock makes some. Without a moment any does."""
        kept = self._kept[sender]
        if len(kept) < MOST:
            return True
        oldest = next(iter(kept))
        if moment is not None and moment - kept[oldest].seen_at < SILENT:
            return False
        self._forget(oldest)
        return True

    def _forget(self, about: KnockKey) -> None:
        # Without a bound an outage of Kafka would collect them; what is left on the topic is read and removed later.
        if self._kept[about.sender].pop(about).on_topic and len(self._removed) < MOST * len(SENDERS):
            self._removed.add(about)
        self._new.discard(about)


def _moment(text: str, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else otherwise
