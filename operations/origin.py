"""Where a record is sent again from: its own place, or the raw record that a check-in was made of."""

from collections.abc import Collection
from contextlib import aclosing
from typing import Final

from attendance.adoptions import NOTHING_MOVED, Moves
from attendance.errors import Reason
from attendance.kafka.records import Headers, OutRecord, Record
from attendance.records.checkin import Checkin
from attendance.records.raw_event import ARRIVED_AT, RAW_RECORD, REPLAY_OF, broker_time
from attendance.user_map import UserMap
from attendance.wire import Place, position
from operations.log import Log

DECIDED_BY_THE_STREAM: Final = frozenset(
    {Reason.UNKNOWN_EMPLOYEE, Reason.EMPLOYEE_INACTIVE, Reason.BEFORE_JOINING, Reason.COORDINATES_REFUSED}
)
"""Reasons for which a check-in fails by what the stream gave it: whom it is for, and where its device hangs."""


def copy_of(record: Record, moves: Moves = NOTHING_MOVED, raw: str = "") -> OutRecord:
    """A record for the topic that it stands on, which names the one that it is a copy of.

    Args:
        record: Of the raw topic, or a check-in.
        moves: The adoptions.
        raw: The full name of the raw topic, which a check-in names records of.
    """
    partition, offset = original_of(record, moves) or (record.partition, record.offset)
    named = moves.headers(record.headers, record.topic, raw, record)
    headers = [(name, data) for name, data in named if name not in (REPLAY_OF, ARRIVED_AT)]
    headers.append((REPLAY_OF, f"{partition}:{offset}".encode()))
    arrived = broker_time(record)
    if arrived is not None:
        # The copy comes later, and what was ahead of its arrival must not pass for that.
        headers.append((ARRIVED_AT, b"%d" % arrived))
    return OutRecord(record.topic, record.key, record.value, headers)


def original_of(record: Record, moves: Moves = NOTHING_MOVED) -> Place | None:
    """Partition and offset of the record that this one is a copy of, if it is one; None also where that is gone."""
    place = position(record.headers, REPLAY_OF)
    return None if place is None else moves.now(record.topic, place, record)


def raw_place(headers: Headers) -> Place | None:
    """The raw record that a check-in was made of, by the headers of the check-in; None where they do not say it."""
    return position(headers, RAW_RECORD)


def is_for_somebody_else(checkin: Checkin, users: UserMap) -> bool:
    """Whether the user map says now that a check-in is not for whom it names.

    A user whom the map does not have any more is nobody else: then the check-in's own word is the last one. A map
    without any employee says nothing.

    Args:
        checkin: Any check-in.
        users: The user map.
    """
    mapping = users.mapping(checkin.site, checkin.device_id, checkin.device_user_id)
    if mapping is not None and mapping.employee != checkin.employee:
        return True
    employee = users.employee(checkin.employee)
    if employee is None:
        return next(users.employees(), None) is not None
    return employee.created is not None and checkin.employee_created not in (None, employee.created)


async def raw_copies(log: Log, places: Collection[Place], moves: Moves = NOTHING_MOVED) -> dict[Place, OutRecord]:
    """Copies of raw records, ready to be sent. Memory is bounded by the places.

    Args:
        log: The topics.
        places: Which records, by where they are now.
        moves: The adoptions.

    Returns:
        The copies by the places of the originals. One that the topic does not have any more is left out.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    wanted = set(places)
    begin: dict[int, int | None] = dict(sorted(wanted, reverse=True))  # the smallest offset of each partition
    found: dict[Place, OutRecord] = {}
    if not wanted:
        return found
    async with aclosing(log.read("raw", begin=begin)) as batches:
        async for batch in batches:
            for record in batch:
                place = (record.partition, record.offset)
                if place in wanted:
                    found[place] = copy_of(record, moves)
            if len(found) == len(wanted):
                break
    return found
