"""Users: who a device's user is."""

from dataclasses import dataclass

from attendance import user_map
from attendance.user_map import UserMap
from operations.log import Log, Skipped


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
