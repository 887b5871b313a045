"""Everything that is kept of a person, as one JSON document that is written as it is read.

The document has `format`, `made_at`, `person`, `records` and `not_here`. A record has its topic, partition, offset and
time, the day on which it is certainly gone (`until`, null where it goes by no time), how it goes (`goes`), and its key,
headers and value. Of a record in which the person only may occur (`certain` is false) there is no more than its place:
what a device sent may be about others.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

import orjson

from attendance.personal_data import HOLDINGS
from attendance.records.raw_event import event_id
from attendance.removal import Retention
from attendance.times import format_milliseconds, format_seconds, from_milliseconds
from attendance.topics import Name
from operations.dead_letters import readable
from operations.log import Log
from operations.personal_records import Found, records_of
from operations.persons import Pair, Person
from streams.dedup import Punch

FORMAT: Final = "punchstream-person-1"
NOT_HERE: Final = "What ERPNext has of the person is not part of this document."


async def export(log: Log, retention: Retention, person: Person, at: datetime) -> AsyncIterator[bytes]:
    """The document, in pieces.

    Args:
        log: The topics.
        retention: How long records are kept.
        person: As `find_person` found them.
        at: The server's clock, UTC.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    yield b'{"format":' + orjson.dumps(FORMAT) + b',"made_at":' + orjson.dumps(format_seconds(at)) + b',"records":['
    separator = b"\n"
    async with aclosing(records_of(log, person)) as found:
        async for each in found:
            yield separator + orjson.dumps(_described(each, retention, person))
            separator = b",\n"
    # Behind the records, for they say which numbers a person had.
    who = {
        "employee": person.asked.employee,
        "device_users": [{"device_id": device, "device_user_id": user} for device, user in person.device_users],
    }
    yield b'\n],"person":' + orjson.dumps(who) + b',"not_here":' + orjson.dumps(NOT_HERE) + b"}\n"


def _described(found: Found, retention: Retention, person: Person) -> dict[str, Any]:
    name, record, certain = found
    at = from_milliseconds(record.timestamp)
    until = retention.until(name, at)
    described: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": format_milliseconds(at),
        "until": None if until is None else format_seconds(until),
        "goes": HOLDINGS[name].goes,
        "certain": certain,
    }
    if not certain:
        return described
    if name == "dedup_state":  # a record of it has the punches of others too
        return described | {"punches": [_punch(pair, punch) for pair, punch in person.punches(record)]}
    headers = [[header, readable(data)] for header, data in record.headers or ()]
    return described | {"key": readable(record.key), "headers": headers, "value": _value(name, record.value)}


def _punch(pair: Pair, punch: Punch) -> dict[str, object]:
    time = format_seconds(punch.time)
    return {
        "device_id": pair[0],
        "device_user_id": pair[1],
        "event_time": time,
        "event_type": punch.event_type,
        "event_id": event_id(*pair, time, punch.event_type),
    }


def _value(name: Name, value: bytes | None) -> object:
    """What a record says, as JSON where it is JSON."""
    if value is None or name == "dead_letters":
        return readable(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return readable(value)
