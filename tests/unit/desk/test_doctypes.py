"""The doctypes of the desk: as Frappe reads them, and in the words of the fleet."""

import json
import runpy
from datetime import date
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from attendance.fleet import Device, Direction, Shift, hash_token, new_token
from operations.site.setup import DAY, EVENT_ID

ROOT = Path(__file__).parents[3]
APP = ROOT / "desk" / "biometric_integration"
DOCTYPES = {
    path.stem: json.loads(path.read_text()) for path in APP.glob("*/doctype/*/*.json") if path.stem == path.parent.name
}
DEVICE, USER_MAP = DOCTYPES["biometric_device"], DOCTYPES["biometric_user_map"]
RULES: dict[str, Any] = runpy.run_path(str(APP / "rules.py"))
LIVE = {"last_sync_at", "last_heard_at", "last_cursor", "clock", "backlog"}
SYNC = "Biometric Sync"

FLAGS = (
    *("reqd", "unique", "read_only", "hidden", "no_copy", "set_only_once", "in_list_view"),
    *("in_standard_filter", "print_hide", "report_hide", "non_negative", "collapsible"),
)
FIELD = {
    "type": "object",
    "required": ["fieldname", "fieldtype"],
    "properties": {
        "fieldname": {"pattern": "^[a-z][a-z0-9_]*$"},
        "fieldtype": {
            "enum": [
                *("Check", "Code", "Column Break", "Data", "Datetime", "Float"),
                *("Int", "Link", "Password", "Section Break", "Select", "Small Text"),
            ]
        },
        "label": {"type": "string"},
        "options": {"type": "string"},
        "default": {"type": "string"},
        "description": {"type": "string"},
        "fetch_from": {"type": "string"},
        "length": {"type": "integer", "minimum": 1},
        "permlevel": {"enum": [0, 1]},
        "precision": {"type": "string"},
        **{flag: {"enum": [0, 1]} for flag in FLAGS},
    },
    "additionalProperties": False,
    "allOf": [
        {
            "if": {"properties": {"fieldtype": {"enum": ["Link", "Select"]}}},
            "then": {"required": ["options"]},
        },
        {
            "if": {"properties": {"fieldtype": {"enum": ["Column Break", "Section Break"]}}},
            "else": {"required": ["label"]},
        },
    ],
}
RIGHTS = ("read", "write", "create", "delete", "email", "export", "import", "print", "report", "share")
PERMISSION = {
    "type": "object",
    "required": ["role", "read"],
    "properties": {
        "role": {"type": "string"},
        "permlevel": {"enum": [0, 1]},
        **{right: {"const": 1} for right in RIGHTS},
    },
    "additionalProperties": False,
}
DOCTYPE = {
    "type": "object",
    "required": ["doctype", "name", "module", "fields", "field_order", "permissions", "modified"],
    "properties": {
        "doctype": {"const": "DocType"},
        "module": {"const": "Biometric Integration"},
        "fields": {"type": "array", "items": FIELD, "minItems": 1},
        "permissions": {"type": "array", "items": PERMISSION},
        "allow_rename": {"const": 0},
        "track_changes": {"const": 1},
        "issingle": {"const": 1},
        "is_virtual": {"const": 1},
        "istable": {"const": 1},
    },
    "if": {"required": ["istable"]},
    # Who may do what with the rows of a table says the document that they are of.
    "then": {"properties": {"permissions": {"maxItems": 0}}},
    "else": {
        "properties": {"permissions": {"minItems": 1}},
        "anyOf": [{"required": ["issingle"]}, {"required": ["autoname"]}],
    },
}


def field(doctype: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in doctype["fields"] if each["fieldname"] == name]
    return dict(found)


def names(doctype: dict[str, Any]) -> set[str]:
    return {each["fieldname"] for each in doctype["fields"] if not each["fieldtype"].endswith("Break")}


@pytest.mark.parametrize("name", DOCTYPES)
def test_a_doctype_is_as_frappe_reads_it(name: str) -> None:
    doctype = DOCTYPES[name]
    jsonschema.validate(doctype, DOCTYPE)
    assert doctype["name"].lower().replace(" ", "_") == name
    assert doctype["field_order"] == [each["fieldname"] for each in doctype["fields"]]
    assert len(set(doctype["field_order"])) == len(doctype["field_order"])
    assert (
        f"class {doctype['name'].replace(' ', '')}(Document)"
        in (APP / "biometric_integration" / "doctype" / name / f"{name}.py").read_text()
    )


def test_the_desk_has_every_field_of_a_fleet_entry_once() -> None:
    renamed = {"device_name": "name"}
    own = {renamed.get(each, each) for each in names(DEVICE) - LIVE - {"auth_token", "more_settings"}}

    assert own.isdisjoint(RULES["MORE_SETTINGS"])
    # Whoever pauses a device writes that beside its entry.
    assert own | set(RULES["MORE_SETTINGS"]) == Device.model_fields.keys() - {"paused"}


def test_the_desk_has_the_words_of_the_fleet() -> None:
    modes = field(DEVICE, "mode")["options"].split("\n")
    directions = field(DEVICE, "direction")["options"].split("\n")

    assert [each.lower() for each in modes] == list(get_args(Device.model_fields["mode"].annotation))
    # Empty leaves it to the site.
    assert [each.lower().replace(" ", "_") for each in directions] == ["", *get_args(Direction)]
    assert field(DEVICE, "adapter")["default"] == Device.model_fields["adapter"].default


@pytest.mark.parametrize("text", ["riyadh-01", "a.b:c_d", "x" * 100, "x" * 101, "two words", "ä", ""])
def test_the_desk_takes_a_name_as_the_fleet_does(text: str) -> None:
    def taken(**fields: str) -> bool:
        try:
            Device.model_validate({"device_id": "d", "site": "s", "timezone": "UTC"} | fields)
        except ValueError:
            return False
        return True

    assert bool(RULES["IDENTIFIER"].fullmatch(text)) == taken(device_id=text) == taken(site=text)
    assert bool(RULES["SERIAL"].fullmatch(text)) == taken(serial=text)


@pytest.mark.parametrize(
    "name", ["Asia/Riyadh", "UTC", "Etc/GMT+3", "Riyadh", "Asia", "../etc", "/etc/passwd", "asia/riyadh "]
)
def test_the_desk_takes_a_zone_as_the_fleet_does(name: str) -> None:
    def taken_by(check: Any, *arguments: Any) -> bool:
        try:
            check(*arguments)
        except ValueError:
            return False
        return True

    entry = {"device_id": "d", "site": "s", "timezone": name}
    assert taken_by(RULES["check_zone"], name) == taken_by(Device.model_validate, entry)


def test_a_token_of_the_desk_opens_what_the_fleets_hash_says() -> None:
    assert RULES["hash_token"]("a-token") == hash_token("a-token")
    assert len(RULES["new_token"]()) == len(new_token())
    assert RULES["HASH"].fullmatch(hash_token(RULES["new_token"]()))


@pytest.mark.parametrize("doctype", [DEVICE, USER_MAP], ids=["device", "user_map"])
def test_the_sync_role_reads_and_does_nothing_else(doctype: dict[str, Any]) -> None:
    rights = [each for each in doctype["permissions"] if each["role"] == SYNC]
    assert rights
    assert all(each.keys() <= {"role", "permlevel", "read"} for each in rights)


def test_nobody_writes_a_live_field_by_hand() -> None:
    assert names(DEVICE) >= LIVE
    assert all(field(DEVICE, name)["permlevel"] == 1 and field(DEVICE, name)["read_only"] for name in LIVE)
    assert not [each for each in DEVICE["permissions"] if each.get("permlevel") == 1 and each.get("write")]


def test_a_number_is_mapped_once_in_the_database_too() -> None:
    assert field(USER_MAP, "mapping_key")["unique"]
    key = RULES["mapping_key"]
    # The database takes the first two for one text, and ends a text before its last spaces.
    numbers = [("", "", "a"), ("", "", "A"), ("", "", "a "), ("a", "", "a"), ("", "a", "a")]
    assert len({key(*each) for each in numbers}) == len(numbers)


CUSTOM_FIELDS = {each["name"]: each for each in json.loads((APP / "fixtures" / "custom_field.json").read_text())}
OF_A_SHIFT = {each["fieldname"]: each for each in CUSTOM_FIELDS.values() if each["dt"] == "Shift Type"}


def test_the_unique_fields_are_those_of_the_setup_and_outlive_the_app() -> None:
    others = {name: each for name, each in CUSTOM_FIELDS.items() if each["dt"] != "Shift Type"}
    assert others == {
        f"{each['dt']}-{each['fieldname']}": {**each, "name": f"{each['dt']}-{each['fieldname']}"}
        for each in (EVENT_ID, DAY)
    }


def test_the_fields_of_a_shift_go_with_the_app_and_come_one_after_the_other() -> None:
    assert {each["module"] for each in OF_A_SHIFT.values()} == {"Biometric Integration"}
    names = list(OF_A_SHIFT)
    assert [each["insert_after"] for each in OF_A_SHIFT.values()] == ["early_exit_grace_period", *names[:-1]]
    assert [each["name"] for each in OF_A_SHIFT.values()] == [f"Shift Type-{name}" for name in names]
    assert OF_A_SHIFT["punchstream_places"]["options"] in {each["name"] for each in DOCTYPES.values()}


def test_a_shift_of_the_desk_has_the_words_and_bounds_of_the_fleet() -> None:
    assert OF_A_SHIFT["punchstream_attendance_by"]["options"].split("\n") == ["ERPNext", "Punchstream"]
    said = OF_A_SHIFT["punchstream_one_punch"]["options"].split("\n")
    assert [each.lower().replace(" ", "_") for each in said] == list(
        get_args(Shift.model_fields["one_punch"].annotation)
    )
    for field in ("attendance_by", "one_punch"):
        options, default = (OF_A_SHIFT[f"punchstream_{field}"][each] for each in ("options", "default"))
        assert default == options.split("\n")[0]


@pytest.mark.parametrize("hours", [0.1, 0.25, 4, 24, 24.5, -1])
def test_the_desk_takes_a_half_day_as_the_fleet_does(hours: float) -> None:
    def taken_by_the_fleet() -> bool:
        try:
            Shift(shift_type="Day", attendance="direct", half_day_below=round(hours * 3600))
        except ValueError:
            return False
        return True

    assert refused("check_half_day", hours) == ("" if taken_by_the_fleet() else "from 0.25 to 24 hours, or empty")


def refused(rule: str, *arguments: Any) -> str:
    """What a rule says against something; empty if nothing."""
    try:
        RULES[rule](*arguments)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ([], ""),
        ([("riyadh", "")], ""),
        ([("riyadh", ""), ("", "j-1")], ""),
        ([("", "r-2"), ("", "r-1")], ""),
        ([("riyadh", "r-1")], "row 1: name either a site or a device"),
        ([("riyadh", ""), ("", "")], "row 2: name either"),
        ([("riyadh", ""), ("riyadh", "")], "row 2: riyadh is there twice"),
        ([("tabuk", "")], "row 1: no Biometric Device is of the site tabuk. Their sites: jeddah, riyadh"),
        ([("Riyadh", "")], "site Riyadh"),
        ([("", "r-9")], "row 1: there is no Biometric Device r-9"),
        ([("", "r-2")], "each Biometric Device there is disabled"),
        ([("", "jeddah")], "each Biometric Device there is disabled"),
    ],
)
def test_places_at_which_nobody_could_punch_are_refused(places: list[tuple[str, str]], why: str) -> None:
    devices = {"r-1": ("riyadh", False), "r-2": ("riyadh", True), "j-1": ("jeddah", False), "jeddah": ("riyadh", True)}
    said = refused("check_places", places, devices)
    assert said.find(why) >= 0 if why else not said


@pytest.mark.parametrize(
    ("day", "taken"), [("2026-03-01", True), ("2025-12-01", True), ("2062-03-01", False), ("2016-03-01", False)]
)
def test_a_first_day_that_is_a_slip_of_the_year_is_refused(day: str, *, taken: bool) -> None:
    assert bool(refused("check_first_day", date.fromisoformat(day), date(2026, 12, 1))) != taken


def test_the_role_of_the_sync_is_made_by_the_app() -> None:
    (role,) = json.loads((APP / "fixtures" / "role.json").read_text())
    assert (role["role_name"], role["desk_access"]) == (SYNC, 0)


def workspace_of_the_app() -> dict[str, Any]:
    (path,) = APP.glob("*/workspace/*/*.json")
    return dict(json.loads(path.read_text()))


def standard(kind: str) -> dict[str, dict[str, Any]]:
    """By name the documents of a kind that the app brings."""
    found = [json.loads(path.read_text()) for path in APP.glob(f"*/{kind}/*/*.json")]
    return {each["name"]: each for each in found}


def test_the_workspace_shows_the_cards_and_charts_of_the_app() -> None:
    workspace, cards, charts = workspace_of_the_app(), standard("number_card"), standard("dashboard_chart")
    blocks = json.loads(workspace["content"])
    shown = [each["data"]["number_card_name"] for each in blocks if each["type"] == "number_card"]
    assert shown == [each["number_card_name"] for each in workspace["number_cards"]]
    assert set(shown) == cards.keys()
    assert {each["data"]["chart_name"] for each in blocks if each["type"] == "chart"} == charts.keys()
    assert {each["chart_name"] for each in workspace["charts"]} == charts.keys()
    assert {each["source"] for each in charts.values()} == standard("dashboard_chart_source").keys()
    for card in cards.values():
        module, _, function = card["method"].rpartition(".")
        assert module == "biometric_integration.overview"
        assert f"@frappe.whitelist()\ndef {function}()" in (APP / "overview.py").read_text()


def test_the_workspace_leads_to_doctypes_that_are_there() -> None:
    workspace = workspace_of_the_app()
    ours = {each["name"] for each in DOCTYPES.values() if not each.get("istable")}
    shown = {each["data"]["shortcut_name"] for each in json.loads(workspace["content"]) if each["type"] == "shortcut"}
    assert shown == {each["link_to"] for each in workspace["shortcuts"]}
    assert shown == ours | {"Employee Checkin"}
