"""A plan's fleet for the fleet file, and its people for the ERPNext stand-in."""

from datetime import date
from typing import Any, Final

import yaml

from attendance.fleet import hash_token
from sandbox.fleet.model import FleetPlan

COMPANY: Final = "Punchstream Demo"


def registry_yaml(plan: FleetPlan) -> str:
    """The fleet file, as `attendance.registry` reads it."""
    return yaml.safe_dump(
        [
            {
                "device_id": terminal.device_id,
                "name": f"Terminal {terminal.device_id}",
                "site": terminal.site.name,
                "timezone": terminal.site.zone,
                "mode": "push",
                "token_sha256": hash_token(terminal.token),
                "direction": terminal.direction,
                "checkin_time": terminal.site.checkin_time,
                "installed_on": terminal.installed_on,
            }
            for terminal in plan.terminals
        ],
        sort_keys=False,
    )


def employees(plan: FleetPlan) -> list[dict[str, Any]]:
    """Every employee that ERPNext knows: those who punch, and a tenth as many again who do not.

    Of these every second one has no id on the terminals.
    """
    rows = [
        _employee(person.employee, person.code, person.site.name, person.status, person.relieving_date)
        for person in plan.people
        if person.employee is not None
    ]
    for extra in range(len(plan.people) // 10 + 2):
        number = len(plan.people) + extra + 1
        code = None if extra % 2 else f"N{number}"
        rows.append(_employee(f"HR-EMP-{number:05d}", code, plan.sites[extra % len(plan.sites)].name, "Active", None))
    return rows


def _employee(name: str, code: str | None, site: str, status: str, relieving_date: date | None) -> dict[str, Any]:
    return {
        "name": name,
        "employee_name": f"Person {name[-5:]}",
        "attendance_device_id": code,
        "status": status,
        "relieving_date": None if relieving_date is None else relieving_date.isoformat(),
        "company": COMPANY,
        "branch": site,
    }
