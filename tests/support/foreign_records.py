"""Records that no decoder reads, records that each of them reads, and the commands that read them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from example_records import AT, CHECKIN, DROPPED, ENVELOPES, EVENT, EXAMPLES, WAITING
from msgspec.structs import replace

from attendance.kafka.records import Headers, OutRecord
from attendance.records.outcomes import Dropped, Waiting
from attendance.topics import Name, Topics

FOREIGN: Final[Sequence[tuple[bytes | None, bytes | None]]] = [
    (None, None),
    (b"\xff\xfe", b"\x00\x01\xff"),
    (b"{}", b"[1, 2]"),
    (b'["user", "*", "1", "csv"]', b'{"employee": 7, "event_id": [], "device_id": {}, "action": 1}'),
    (b"null", b"null"),
    (None, b"{}"),
    (b'["stranger", "a", "b"]', DROPPED.encode().replace(b":78", b":1000000000000000000000")),
]
"""Keys and values: no JSON, JSON of another kind, fields of other types and sizes, nothing at all."""
FOREIGN_HEADERS: Final[Headers] = [
    ("x-original-partition", b"1000000000000000000000"),
    ("x-original-offset", None),  # type: ignore[list-item] - as any producer may send it
    ("x-dead-letter-reason", b"\xff"),
    ("x-replay-of", b"elsewhere"),
]
_WITHOUT_A_VALUE: Final[frozenset[Name]] = frozenset({"unmapped", "device_status"})
"""There the first of them says that something is no more, whatever its key."""

TOOLS: Final[Sequence[tuple[str, frozenset[Name]]]] = [
    ("audit", frozenset({"dropped", "unmapped", "checkins", "dead_letters", "dead_letter_actions", "deliveries"})),
    ("audit --late", frozenset({"deliveries"})),
    ("replay --since 2020-01-01 --dry-run", frozenset({"raw", "dropped", "checkins"})),
    ("dead-letters list", frozenset({"dead_letters", "dead_letter_actions", "fleet"})),
    ("dead-letters show 0:0", frozenset({"dead_letter_actions"})),  # it looks no further than that letter
    ("dead-letters replay --all --dry-run", frozenset({"dead_letters", "dead_letter_actions", "fleet"})),
    ("users list", frozenset({"user_map"})),
    ("users unmapped", frozenset({"unmapped"})),
    ("devices list --status", frozenset({"device_status", "fleet"})),
    ("devices pending", frozenset({"terminals", "fleet"})),
    ("devices commands", frozenset({"terminals"})),
]
"""Each command, and of which topics it skips what it cannot read."""

REGISTRY: Final = "- {device_id: riyadh-01, site: riyadh, timezone: Asia/Riyadh, mode: file, adapter: csv}\n"


def skipped(topic: Name) -> int:
    """How many of `FOREIGN` a command that reads a topic cannot read."""
    return len(FOREIGN) - (topic in _WITHOUT_A_VALUE)


def foreign(topics: Topics, topic: Name, partition: int = 0) -> list[OutRecord]:
    """The records of `FOREIGN` for a topic."""
    return [OutRecord(topics[topic], key, value, FOREIGN_HEADERS, partition) for key, value in FOREIGN]


def own(topics: Topics) -> list[OutRecord]:
    """A punch that was delivered late, its duplicate, one that waits, and one record at least for each command."""
    waiting = Waiting(replace(EVENT, event_time=AT + timedelta(hours=1)), WAITING.reason)
    dropped = Dropped(EVENT.event_id, EVENT.event_id, DROPPED.reason, EVENT.device_id, EVENT.device_user_id, AT, 0, 1)
    of_topics: list[tuple[Name, bytes, bytes]] = [
        ("raw", EVENT.key, EVENT.encode()),
        ("raw", EVENT.key, EVENT.encode()),
        ("raw", EVENT.key, waiting.event.encode()),
        ("checkins", CHECKIN.key, CHECKIN.encode()),
        ("dropped", dropped.key, dropped.encode()),
        ("unmapped", waiting.key, waiting.encode()),
    ]
    for name in (
        *("delivery-late", "dead-letter-discard", "device-status", "user-mapping", "employee"),
        *("terminal-command", "terminal-pending"),
    ):
        topic, record = EXAMPLES[name]
        of_topics.append((topic, record.key, record.encode()))
    letter = ENVELOPES["dead-letter-request"]
    return [
        *(OutRecord(topics[topic], key, value, (), 0) for topic, key, value in of_topics),
        OutRecord(topics["dead_letters"], letter.key, letter.value, letter.headers, 0),
    ]
