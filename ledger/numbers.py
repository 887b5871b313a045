"""Numbers that a person decided about: how far the punches of one have come since, and which punches were ignored."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, func, select

from attendance.records.dead_letter_action import LetterId
from attendance.times import from_milliseconds
from ledger.tables import CHECKINS, DEAD_LETTERS, DELIVERIES
from operations.dead_letters import BORN_DISCARDED
from operations.fact_reading import milliseconds

_LETTERS: Final = DEAD_LETTERS.c


@dataclass(frozen=True, slots=True)
class IgnoredPunches:
    """The punches of one device user that were ignored and not sent again since. `newest` is UTC."""

    device_id: str
    device_user_id: str
    punches: int
    newest: datetime
    note: str


def count_released(
    connection: Connection, employee: str, number: str, devices: Collection[str], since: datetime
) -> tuple[int, int]:
    """How many punches of a number became check-ins of an employee since a time, and how many of them ERPNext has.

    Args:
        connection: In a transaction.
        employee: Whose number it is.
        number: The device user.
        devices: The devices.
        since: From this time on.
    """
    theirs = (
        CHECKINS.c.employee == employee,
        CHECKINS.c.device_user_id == number,
        CHECKINS.c.device_id.in_(sorted(devices)),
        CHECKINS.c.decided_at >= milliseconds(since),
    )
    ids = select(CHECKINS.c.event_id).where(*theirs).distinct().subquery()
    is_there = select(DELIVERIES.c.event_id).where(DELIVERIES.c.event_id == ids.c.event_id).exists()
    came = connection.execute(select(func.count()).select_from(ids)).scalar_one()
    delivered = connection.execute(select(func.count()).select_from(ids).where(is_there)).scalar_one()
    return came, delivered


def count_ignored(connection: Connection, devices: Collection[str] | None = None) -> list[IgnoredPunches]:
    """The punches that were ignored and not sent again since, by device and device user.

    It costs a pass over the dead letters.

    Args:
        connection: In a transaction.
        devices: Of these devices; None for all.
    """
    of = _LETTERS.device_id, _LETTERS.device_user_id
    # Where one row has the maximum, the note is that of any of them: of one entry all are the same.
    query = _left(select(*of, func.count(), func.max(_LETTERS.failed_at), func.max(_LETTERS.message)))
    if devices is not None:
        query = query.where(_LETTERS.device_id.in_(sorted(devices)))
    rows = connection.execute(query.where(_LETTERS.device_user_id.is_not(None)).group_by(*of).order_by(*of))
    return [IgnoredPunches(device, user, count, from_milliseconds(at), note) for device, user, count, at, note in rows]


def ignored_letters(connection: Connection, number: str, devices: Collection[str]) -> list[LetterId]:
    """The dead letters of a number that was ignored, of those that were not sent again since.

    Args:
        connection: In a transaction.
        number: The device user.
        devices: Of these devices.
    """
    place = _LETTERS.kafka_partition, _LETTERS.kafka_offset
    theirs = _LETTERS.device_id.in_(sorted(devices)), _LETTERS.device_user_id == number
    rows = connection.execute(_left(select(*place)).where(*theirs).order_by(*place))
    return [LetterId(partition, offset) for partition, offset in rows]


def _left(query: Select[Any]) -> Select[Any]:
    return query.where(_LETTERS.reason == BORN_DISCARDED, _LETTERS.last_action.is_(None))
