"""Users: who a device's user is."""

from collections.abc import Callable
from dataclasses import dataclass

from attendance import user_map
from attendance.records.user_map import UserMapping
from attendance.times import format_seconds
from attendance.user_map import UserMap
from operations.log import Log, Skipped
from operations.user_decisions import Number, standing


@dataclass(frozen=True, slots=True)
class UserRow:
    """One mapping with what is known of its employee. `status` is None where the directory does not know it.

    `overridden` means that another one counts: of a CSV file in the same scope before ERPNext's, and either of them
    before the console's. `at`, `by` and `note` are of the console's alone.
    """

    device_user_id: str
    scope: str
    employee: str
    source: str
    status: str | None
    relieving_date: str | None
    overridden: bool
    at: str | None = None
    by: str | None = None
    note: str | None = None


def user_rows(users: UserMap, site_of: Callable[[str], str | None] = lambda _: None) -> list[UserRow]:
    """Every mapping, by user and scope.

    Args:
        users: The user map.
        site_of: The site of a device, which decides whether a mapping of the site counts before one of the device.
    """
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
                overridden=_is_overridden(users, mapping, site_of),
                at=format_seconds(mapping.at) if mapping.at else None,
                by=mapping.by,
                note=mapping.note,
            )
        )
    return rows


def _is_overridden(users: UserMap, mapping: UserMapping, site_of: Callable[[str], str | None]) -> bool:
    if mapping.source != "console":
        return users.in_scope(mapping.scope, mapping.device_user_id) != mapping
    number = Number.of_scope(mapping.scope, mapping.device_user_id, site_of)
    return standing(users, number).listed is not None


async def read_user_map(log: Log, skipped: Skipped) -> UserMap:
    """The user map as the topic has it.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no entries.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    return await user_map.read_user_map(log.read("user_map"), skipped.add)
