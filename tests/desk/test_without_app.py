"""What the app changes of a site, and that check-ins are the same with and without it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from eventually import eventually
from frappe_bench import FrappeBench, ServedSite, SiteUser
from site_pipeline import site_pipeline

from attendance.fleet import hash_token

APP = "biometric_integration"
DOCTYPES = ["Biometric Device", "Biometric User Map", "Attendance Raw Log", "Punchstream Settings"]
TOKEN = "a-token-of-a-file-5521"
FAST, MANY = "biometric_integration.ingest.api.insert", "frappe.client.insert_many"
CHECKIN = "Employee Checkin"
PUNCHES = 40
OF_EACH = {"name", "creation", "modified"}
"""What two documents never share."""

State = Mapping[str, list[str]]


def gone(before: State, after: State, part: str) -> set[str]:
    """What there was, and is not any more."""
    return set(before[part]) - set(after[part])


def event_id_columns(state: State) -> list[str]:
    """The column `event_id` of check-ins and its index."""
    rows = [*state["columns"], *state["indexes"]]
    return [each for each in rows if each.startswith(f"tab{CHECKIN} ") and "event_id" in each]


@pytest.fixture(scope="module")
def people(make: Any) -> dict[str, str]:
    """Employees by the number that they have on every device: two with a day shift, one without."""
    shift = make.document(
        "Shift Type", __newname=f"Day {make.run}", start_time="08:00:00", end_time="16:00:00", enable_auto_attendance=0
    )
    of = {"1": {"default_shift": shift}, "2": {"default_shift": shift}, "3": {}}
    return {
        f"{make.run}{number}": make.employee(f"Number {number}", attendance_device_id=f"{make.run}{number}", **fields)
        for number, fields in of.items()
    }


@pytest.fixture(scope="module")
def punches(people: Mapping[str, str]) -> list[dict[str, str]]:
    """Punches of all of them, over some days, in and outside of shifts."""
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=9)
    numbers = list(people)
    return [
        {
            "user_id": numbers[each % 3],
            "time": (begin + timedelta(minutes=each * 307)).isoformat(),
            "type": ("IN", "OUT")[each % 2],
        }
        for each in range(PUNCHES)
    ]


@pytest.fixture
def reinstalled(bench: FrappeBench) -> Iterator[None]:
    """Whatever happens, the site has the app again."""
    yield
    if APP not in bench.ask("state")["apps"]:
        bench.frappe("install-app", APP)
        bench.ask("prepare")


def delivered(
    directory: Path,
    bench: FrappeBench,
    site: ServedSite,
    keys: Mapping[str, str],
    user: SiteUser,
    people: Mapping[str, str],
    punches: list[dict[str, str]],
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The rows that a new pipeline stores of punches, which are then gone again, and how often it asked by each way."""
    directory.mkdir()
    device = {"device_id": "filed", "site": "filed", "timezone": "UTC", "token_sha256": hash_token(TOKEN)}
    file = directory / "devices.yaml"
    file.write_text(yaml.safe_dump([device]))
    before = site.methods()
    employees = list(people.values())

    def rows() -> list[dict[str, Any]]:
        return user.find(CHECKIN, [["employee", "in", employees]], ["name"])

    with site_pipeline(directory, site.url, keys, PUNCHSTREAM_DEVICES=str(file)) as pipeline:
        assert pipeline.post("filed", TOKEN, punches) == 200
        eventually(lambda: len(rows()) == len(punches), within=300, wanted=f"{len(punches)} check-ins")
    asked = site.methods() - before
    return bench.ask("take_checkins", employees=employees), {name: asked[name] for name in (FAST, MANY)}


def test_check_ins_are_the_same_without_the_app_and_installing_it_again_leaves_the_site_as_it_was(
    bench: FrappeBench,
    site: ServedSite,
    administrator: SiteUser,
    prepared: dict[str, Any],
    people: dict[str, str],
    punches: list[dict[str, str]],
    reinstalled: None,
    tmp_path: Path,
) -> None:
    rest = (bench, site, prepared["api"], administrator, people, punches)
    with_app = bench.ask("state")
    fast, asked_fast = delivered(tmp_path / "fast", *rest)

    removed = bench.frappe("uninstall-app", APP, "--yes", "--no-backup")
    assert removed.returncode == 0, removed.stdout + removed.stderr
    without = bench.ask("state")
    many, asked_many = delivered(tmp_path / "many", *rest)

    added = bench.frappe("install-app", APP)
    assert added.returncode == 0, added.stdout + added.stderr
    migrated = bench.frappe("migrate", "--skip-search-index")
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    bench.ask("prepare")
    again = bench.ask("state")

    assert asked_fast[FAST] > 0
    assert asked_many == {FAST: 0, MANY: asked_many[MANY]}
    assert asked_many[MANY] > 0
    assert len(fast) == PUNCHES
    assert fast.keys() == many.keys()
    for event_id, row in fast.items():
        assert {name: value for name, value in row.items() if name not in OF_EACH} == {
            name: value for name, value in many[event_id].items() if name not in OF_EACH
        }
    assert gone(with_app, without, "DocType") >= set(DOCTYPES)
    assert gone(with_app, without, "Role") == {"Biometric Sync"}
    assert not [each for part in ("Singles", "__Auth") for each in without[part] if each in DOCTYPES]
    assert event_id_columns(without) == event_id_columns(with_app) != []
    assert {part: (gone(with_app, again, part), gone(again, with_app, part)) for part in with_app} == {
        part: (set(), set()) for part in with_app
    }
