"""Users: who a device's user is, and whose punches wait for an answer to that."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from attendance import user_map
from attendance.errors import Reason
from attendance.kafka.records import Record
from attendance.records.outcomes import Waiting, waiting_event_id
from attendance.user_map import UserMap
from operations.log import Log, Skipped, decoded


@dataclass(frozen=True, slots=True)
class UserRow:
    """One mapping with what is known of its employee. `status` is None where the directory does not know it.

    `overridden` means that a CSV file names another employee in the same scope, and that one counts.
    """

    device_user_id: str
    scope: str
    employee: str
    source: str
    status: str | None
    relieving_date: str | None
    overridden: bool


@dataclass(frozen=True, slots=True)
class WaitingUser:
    """The punches of one device user at one site that wait for one reason. `since` is the oldest punch, UTC."""

    site: str
    device_user_id: str
    reason: Reason
    employee: str | None
    punches: int
    since: datetime
    devices: tuple[str, ...]


def user_rows(users: UserMap) -> list[UserRow]:
    """Every mapping, by user and scope."""
    rows = []
    for mapping in sorted(users.mappings(), key=lambda entry: (entry.device_user_id, entry.scope, entry.source)):
        employee = users.employee(mapping.employee)
        relieved = employee.relieving_date if employee else None
        rows.append(
            UserRow(
                device_user_id=mapping.device_user_id,
                scope=mapping.scope,
                employee=mapping.employee,
                source=mapping.source,
                status=employee.status if employee else None,
                relieving_date=relieved.isoformat() if relieved else None,
                overridden=users.in_scope(mapping.scope, mapping.device_user_id) != mapping,
            )
        )
    return rows


async def read_user_map(log: Log, skipped: Skipped) -> UserMap:
    """The user map as the topic has it.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no entries.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    return await user_map.read_user_map(log.read("user_map"), skipped.add)


async def read_waiting(log: Log, skipped: Skipped) -> list[Waiting]:
    """Every punch that waits.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no waiting punch.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    return waiting_now([record async for batch in log.read("unmapped") for record in batch], skipped)


def waiting_now(records: Iterable[Record], skipped: Skipped) -> list[Waiting]:
    """What waits, by records of the unmapped topic: the newest of each key, unless that one removes it.

    A punch that the sink sent back has a key of its own. Of several records of one punch the newest counts.

    Args:
        records: In the order of their offsets within a partition.
        skipped: Where the records are counted that are neither.
    """
    newest = {record.key: record for record in records}
    there: dict[str, Record] = {}
    for record in newest.values():
        if record.value is not None:
            event_id = waiting_event_id(record.key)
            before = there.get(event_id)
            if before is None or (before.partition, before.offset) < (record.partition, record.offset):
                there[event_id] = record
    return [waiting for _, waiting in decoded(there.values(), lambda record: Waiting.decode(record.value), skipped)]


def by_user(waiting: Iterable[Waiting]) -> list[WaitingUser]:
    """The waiting punches counted, by site, user and reason."""
    groups: dict[tuple[str, str, Reason], list[Waiting]] = defaultdict(list)
    for each in waiting:
        groups[each.event.site, each.event.device_user_id, each.reason].append(each)
    return [
        WaitingUser(
            site=site,
            device_user_id=device_user_id,
            reason=reason,
            employee=next((each.employee for each in reversed(members) if each.employee), None),
            punches=len(members),
            since=min(each.event.event_time or each.event.received_at for each in members),
            devices=tuple(sorted({each.event.device_id for each in members})),
        )
        for (site, device_user_id, reason), members in sorted(groups.items())
    ]
