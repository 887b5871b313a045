"""Requests made from docs/openapi.yaml, as it wants them or not: each answer is in it, and nothing is lost."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
import yaml
from attacked import DEVICES, TOKEN, Attacked
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from attendance.errors import Reason
from attendance.records.dead_letter import DeadLetter

SCHEMA: Final = Path(__file__).parents[2] / "docs" / "openapi.yaml"
CHECKS: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""That an answer has a status, a type, headers and a body of the contract; 500 is none of its statuses."""
NOT_UNDERSTOOD: Final = {Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR}


class Promised:
    """What push said that it has: punches by their users, and how many events and requests it did not understand."""

    def __init__(self) -> None:
        self.users = Counter[str]()
        self.rejected = 0
        self.not_understood = 0

    def hear(self, body: Any, status: int, answer: dict[str, Any]) -> None:
        """Take note of what a body was answered."""
        if status == 400:
            self.not_understood += 1
        if status != 200 or "inserted" not in answer:
            return
        rejected = {each["index"] for each in answer["rejected"]}
        events = body["events"]
        assert answer["inserted"] + len(rejected) == len(events)
        self.users.update(str(event["user_id"]).strip() for at, event in enumerate(events) if at not in rejected)
        self.rejected += len(rejected)


def contract() -> list[Any]:
    """The operations of the contract, whose only device is that of the process."""
    document = yaml.safe_load(SCHEMA.read_text())
    document["components"]["schemas"]["DeviceId"]["enum"] = [DEVICES[0]["device_id"]]
    schema: Any = schemathesis.openapi.from_dict(document)
    return [found.ok() for found in schema.get_all_operations()]


def attack(push: Attacked, promised: Promised, operation: Any, mode: GenerationMode, examples: int) -> None:
    """Send so many requests, and hold each answer against the contract."""

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=f"http://127.0.0.1:{push.port}", headers={"X-Device-Token": TOKEN})
        promised.hear(case.body, response.status_code, response.json())
        case.validate_response(response, checks=CHECKS)

    send()


@pytest.mark.parametrize("examples", [15, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_each_answer_is_in_the_contract_and_nothing_is_lost(push: Attacked, examples: int) -> None:
    promised = Promised()
    for operation in contract():
        for mode in GenerationMode:
            attack(push, promised, operation, mode, examples)
    assert promised.users
    assert Counter(push.users()) == promised.users
    letters = [DeadLetter.decode(each.key, each.value, each.headers) for each in push.records("dead_letters")]
    reasons = Counter[str]()
    for letter in letters:
        reasons[letter.reason] += 1 + (letter.further or 0)
    assert reasons[Reason.INVALID_EVENT] == promised.rejected
    assert sum(reasons[reason] for reason in NOT_UNDERSTOOD) == promised.not_understood
    assert not reasons[Reason.INTERNAL_ERROR]
