"""What the desk asks of the console: calls, words and fields that the console's API has."""

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from console.api.app import document
from operations.journeys import Outcome

APP = Path(__file__).parents[3] / "desk" / "biometric_integration"
RAW_LOG = APP / "biometric_integration" / "doctype" / "attendance_raw_log"
FIELDS = {each["fieldname"]: each for each in json.loads((RAW_LOG / "attendance_raw_log.json").read_text())["fields"]}
API = document()
SCHEMAS = API["components"]["schemas"]
HIDDEN = re.compile(r"\{[^}]*\}")


def constants(path: Path) -> dict[str, Any]:
    """The constants of a module that cannot be imported here, because it imports Frappe."""
    found = {}
    for each in ast.parse(path.read_text()).body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.value is not None:
            try:
                found[each.target.id] = ast.literal_eval(each.value)
            except ValueError:
                continue
    return found


def calls() -> set[tuple[str, str]]:
    """The method and the path of each call of the console; what varies in a path is `{}`."""
    found = set()
    for path in APP.rglob("*.py"):
        if path.name.startswith("test_"):
            continue
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.Call) and ast.unparse(each.func) in ("console.get", "console.post"):
                address = each.args[0]
                parts = address.values if isinstance(address, ast.JoinedStr) else [address]
                said = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
                found.add((ast.unparse(each.func).removeprefix("console."), said))
    return found


THERE = constants(RAW_LOG / "attendance_raw_log.py")
ASKED = constants(RAW_LOG / "filters.py")


def test_every_call_is_one_that_the_console_has() -> None:
    there = {(method, HIDDEN.sub("{}", path).lstrip("/")) for path, of in API["paths"].items() for method in of}
    assert calls()
    assert calls() <= there


@pytest.mark.parametrize("path", ["/punches", "/punches/count"])
def test_punches_are_looked_for_by_words_of_the_console(path: str) -> None:
    words = {each["name"]: each for each in API["paths"][path]["get"]["parameters"]}
    assert {*ASKED["SAME"].values(), "first_day", "last_day", "zone", "after"} <= words.keys()
    if "most" in words:
        assert words["most"]["schema"]["maximum"] >= THERE["PAGE"]


def test_a_list_shows_what_the_console_says() -> None:
    listed, opened = SCHEMAS["Punch"]["properties"], SCHEMAS["Traced"]["properties"]
    assert {*THERE["COPIED"], *THERE["TIMES"]} <= listed.keys()
    assert {*THERE["COPIED"], "event_time", "message", "milestones"} <= opened.keys()
    assert {*THERE["COPIED"], *THERE["TIMES"]} <= FIELDS.keys()
    assert set(THERE["MILESTONES"].values()) <= set(THERE["TIMES"])


def test_the_raw_log_has_the_outcomes_of_the_console() -> None:
    assert set(FIELDS["outcome"]["options"].split("\n")) == {*get_args(Outcome)}


def test_the_raw_log_has_the_fields_of_the_guide_and_is_only_read() -> None:
    guide = {"device", "device_user_id", "event_time", "event_type", "source_payload", "hash"}
    assert guide | {"outcome", "document", "reason"} <= FIELDS.keys()
    doctype = json.loads((RAW_LOG / "attendance_raw_log.json").read_text())
    assert doctype["is_virtual"] == 1
    assert [(each.keys() - {"role"}, each["role"]) for each in doctype["permissions"]] == [
        ({"read"}, "HR Manager"),
        ({"read"}, "HR User"),
    ]
    assert all(each.get("read_only") for each in FIELDS.values() if not each["fieldtype"].endswith("Break"))


def test_the_buttons_show_what_the_console_says() -> None:
    device = constants(APP / "biometric_integration" / "doctype" / "biometric_device" / "biometric_device.py")
    for name, schema in (("CHECK", "Check"), ("BACKFILL", "Backfill"), ("PENDING", "Pending")):
        assert set(device[name]) <= SCHEMAS[schema]["properties"].keys()
    assert "clients" in SCHEMAS["Pending"]["properties"]
    assert SCHEMAS["Begun"]["properties"]["way"]["enum"] == ["asked", "ordered"]


def test_the_workspace_shows_what_the_console_says() -> None:
    overview = constants(APP / "overview.py")
    assert set(overview["OUTCOMES"]) == {*get_args(Outcome)}
    (days,) = [each for each in API["paths"]["/overview"]["get"]["parameters"] if each["name"] == "days"]
    assert overview["DAYS"] <= days["schema"]["maximum"]
    assert {"devices", "numbers", "letters", "days"} <= SCHEMAS["Overview"]["properties"].keys()
    assert {"silent", "never"} <= set(SCHEMAS["Overview"]["properties"]["devices"]["propertyNames"]["enum"])


def test_the_token_is_a_secret_of_system_managers() -> None:
    (path,) = APP.glob("*/doctype/punchstream_settings/*.json")
    doctype = json.loads(path.read_text())
    assert [each["role"] for each in doctype["permissions"]] == ["System Manager"]
    assert {each["fieldname"]: each["fieldtype"] for each in doctype["fields"]}["api_token"] == "Password"
