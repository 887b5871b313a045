"""Suggestions whose number a device user may be: employees who have the same number elsewhere. They decide nothing."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from attendance.records.user_map import Employee, UserMapping
from attendance.user_map import UserMap

MOST: Final = 3
"""Suggestions for one number."""
Because = Literal["device_number", "employee_id"]
"""Why an employee is suggested: their number in ERPNext, or of a file, is the same but for zeros before it or for where
it holds; or the name of their record ends in it."""
_ENDS_IN: Final = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An employee whose number it may be, and why. `status` is ERPNext's word."""

    employee: str
    status: str
    because: Because


class Suggestions:
    """What a user map suggests, as it was when this was made."""

    def __init__(self, users: UserMap) -> None:
        """Look through the map once.

        Args:
            users: The user map. It is not looked at again.
        """
        known = {each.name: each for each in users.employees()}
        self._by_number: dict[str, dict[str, Suggestion]] = defaultdict(dict)
        for number, employee in _by_device_number(users.mappings(), known):
            self._note(number, employee, "device_number")
        for employee in known.values():
            ending = _ENDS_IN.search(employee.name)
            if ending is not None:
                self._note(ending[0], employee, "employee_id")

    def _note(self, number: str, employee: Employee, because: Because) -> None:
        plain = number.lstrip("0")
        if plain:
            suggestion = Suggestion(employee.name, employee.status, because)
            self._by_number[plain].setdefault(employee.name, suggestion)

    def of(self, device_user_id: str) -> list[Suggestion]:
        """Whose number it may be, the likeliest first: Active employees, and those of the same number.

        Args:
            device_user_id: As the device has it.
        """
        found = self._by_number.get(device_user_id.lstrip("0"), {}).values()
        return sorted(found, key=lambda each: (each.status != "Active", each.because != "device_number"))[:MOST]


def _by_device_number(mappings: Iterable[UserMapping], known: dict[str, Employee]) -> Iterable[tuple[str, Employee]]:
    for mapping in mappings:
        employee = known.get(mapping.employee)
        if employee is not None:
            yield mapping.device_user_id, employee
