"""Calls made from the document of the API, as it wants them or not: each answer is in it, and none is a fault."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from console_site import NAME, story
from different_site import DifferentSite
from hypothesis import HealthCheck, Phase, given, settings
from late_site import LateSite
from planning_console import PlanningConsole
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from console.api.app import document
from operations import correction_plans, late_plans
from operations.console_users import add_token

EXAMPLES: Final = 3
"""Of each call, and as many of what its document does not allow."""
CHECKS: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
"""That an answer has a status, a type and a body of the document; 500 is none of its statuses."""


def operations() -> list[Any]:
    schema: Any = schemathesis.openapi.from_dict(document())
    return [each.ok() for each in schema.get_all_operations()]


def test_each_answer_is_in_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = PlanningConsole(tmp_path, story())
    monkeypatch.setattr(late_plans, "ErpnextClient", lambda _: LateSite("E1"))
    monkeypatch.setattr(correction_plans, "ErpnextClient", lambda _: DifferentSite())
    monkeypatch.setattr("operations.day_in_erpnext.ErpnextClient", lambda _: DifferentSite())
    monkeypatch.setattr("console.actions.fresh.SECONDS", 0.0)
    site.users.caught_up.set()
    site.context.people.caught_up.set()
    _, text = asyncio.run(add_token(site.log, "payroll", NAME, role="administrator"))
    site.users.apply(site.log.records("console_users")[-1])
    headers, answered = {"Authorization": f"Bearer {text}", "Host": "127.0.0.1"}, set[tuple[str, int]]()

    def attack(operation: Any, mode: GenerationMode) -> None:
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case[Any]) -> None:
            response = case.call(app=site.app, headers=headers)
            answered.add((operation.method.upper(), response.status_code))
            case.validate_response(response, checks=CHECKS)

        send()

    for operation in operations():
        for mode in GenerationMode:
            attack(operation, mode)
    site.database.close()
    assert {("GET", 200), ("GET", 422), ("POST", 422), ("PUT", 422)} <= answered
