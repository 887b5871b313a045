"""The pages of the first hour: what they name is there, and what they run says what they promise."""

import re
import sqlite3
import subprocess
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from runpy import run_path
from urllib.parse import parse_qsl, urlsplit

import pytest
from babel.messages.pofile import read_po
from ledger_story import START_MS, TOPICS, Story, event
from stand_in import Api

from attendance.adoptions import NOTHING_MOVED
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.times import now
from ledger.database import Database
from ledger.store import Store
from operations.fact_reading import FactReader
from producers.devices import create_push_adapter
from producers.devices.contract import Head, Parsed, PushRequest
from sandbox.fleet.model import FleetPlan
from sandbox.fleet.plan import plan
from sandbox.fleet.registry import employees

ROOT = Path(__file__).parents[3]
HR, IT, DATA = (ROOT / "docs" / f"first-hour-{name}.md" for name in ("hr", "it", "data"))
EXAMPLE = ROOT / "examples" / "consume.py"
LONGEST = 160
"""Lines of a page that somebody reads and does in an hour."""
OF_ERPNEXT = {"Attendance Device ID", "Last Sync of Checkin"}
"""Fields that the page of HR names, and the console does not."""

CODE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [content for tag, content in CODE.findall(page.read_text()) if tag == language]


def shell(page: Path, containing: str) -> str:
    """The block of a shell that has this."""
    (found,) = [each for each in blocks(page, "sh") if containing in each]
    return found


def said_by_a_shell(text: str) -> str:
    return subprocess.run(["sh", "-c", text], check=True, capture_output=True, text=True, timeout=10).stdout


@pytest.fixture(scope="module")
def demo() -> FleetPlan:
    """What `make demo` sends."""
    return plan(1, now())


@pytest.mark.parametrize("page", [HR, IT, DATA], ids=lambda page: page.stem)
def test_a_page_is_one_that_is_read_within_its_hour(page: Path) -> None:
    text = page.read_text()
    assert text.count("\n") <= LONGEST
    minutes = [int(each) for each in re.findall(r"\((\d+) minutes\)", text)]
    assert sum(minutes) <= 60


@pytest.mark.parametrize(("reader", "page"), [("setting up", IT), ("HR", HR), ("data teams", DATA)])
def test_the_readme_names_the_first_hour_of_a_reader_first(reader: str, page: Path) -> None:
    (row,) = re.findall(rf"^\| {reader} \| \[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert ROOT / row == page


def test_what_hr_is_to_press_and_to_see_is_in_the_console() -> None:
    with (ROOT / "console" / "locale" / "ar" / "console.po").open("rb") as file:
        ids = [message.id for message in read_po(file) if message.id]
    texts = {each for found in ids for each in ([found] if isinstance(found, str) else found)}
    prose = CODE.sub("", HR.read_text()).replace("**", "")
    named = {" ".join(each.split()) for each in re.findall(r"\*([^*]+)\*", prose)}
    assert len(named) > 20
    assert {re.sub(r"\d+", "%(number)s", each) for each in named - OF_ERPNEXT} <= texts


class TestTheDemoThatHrWalksThrough:
    def test_the_numbers_that_hr_maps_are_nobodys(self, demo: FleetPlan) -> None:
        unknown = {each.code for each in demo.people if each.employee is None}
        assert set(re.findall(r"number `(\w+)`", HR.read_text())) == {"1088", "1124"}
        assert unknown >= {"1088", "1124"}

    def test_whom_hr_chooses_has_no_number_yet(self, demo: FleetPlan) -> None:
        free = {each["employee_name"] for each in employees(demo) if not each["attendance_device_id"]}
        named = set(re.findall(r"Person \d{5}", HR.read_text()))
        assert len(named) == 2
        assert named <= free

    def test_so_many_check_ins_are_replaced_as_the_page_says(self, demo: FleetPlan) -> None:
        (said,) = re.findall(r"\*Replace (\d+) check-ins\*", HR.read_text())
        assert int(said) == sum(each.device_user_id == "1124" for each in demo.expectation.of("waiting"))

    def test_so_many_days_are_put_right_as_the_page_says(self, demo: FleetPlan) -> None:
        (said,) = re.findall(r"\*Put (\d+) days right\*", HR.read_text())
        times = [each.event_time for each in demo.expectation.of("waiting") if each.device_user_id == "1088"]
        days = {(each + timedelta(hours=3)).date() for each in times if each is not None}
        assert int(said) == len(days - {(now() + timedelta(hours=3)).date()})

    def test_who_is_traced_has_punched_today_where_the_demo_has_its_day(self, demo: FleetPlan) -> None:
        (name,) = set(re.findall(r"Enter `(HR-EMP-\d+)` and today", HR.read_text()))
        theirs = [each for each in demo.expectation.of("delivered") if each.employee == name]
        assert {each.terminal.site.zone for each in theirs} == {"Asia/Riyadh"}
        assert max(each.event_time for each in theirs if each.event_time) > demo.now - timedelta(hours=1)

    def test_what_it_sends_closes_days_without_somebody(self) -> None:
        site = Api()
        # As curl would be called: its address and its body, with a line end after each.
        script = shell(HR, "send hourly").replace("curl -sS -H 'Content-Type: application/json' -d \"$2\"", 'echo "$2"')
        parts = said_by_a_shell(f"ERPNEXT_URL=\n{script}").split("\n\n")
        for part in filter(str.strip, parts):
            body, _, path = part.strip().rpartition(" ")
            assert site.request("POST", path, content=body, headers={"Content-Type": "application/json"}).is_success
        rows = site.site.rows("Attendance")
        found = [(row["employee"], row["status"], row["attendance_date"]) for row in rows]
        nadias = [(status, day) for employee, status, day in found if employee == "HR-EMP-00401"]
        assert {status for status, _ in nadias} == {"Absent"}
        # Up to yesterday, in the zone of the demo's site.
        today = (now() + timedelta(hours=3)).date()
        assert max(date.fromisoformat(day) for _, day in nadias) == today - timedelta(days=1)


class TestWhatATerminalSends:
    def parsed(self, adapter: str, address: str, body: bytes, device: Device) -> Parsed:
        url, found = urlsplit(address), create_push_adapter(adapter, ())
        for route in found.routes:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
            if route.method == "POST" and (match := re.fullmatch(pattern, url.path)):
                head = Head("POST", route.path, match.groupdict(), dict(parse_qsl(url.query)), {})
                return found.parse(PushRequest(head, body, now()), {device.device_id: device})
        raise AssertionError(url.path)

    def is_a_punch_of_now(self, parsed: Parsed) -> None:
        assert not parsed.rejected
        (punch,) = parsed.events
        assert punch.device_user_id == "1001"
        assert punch.event_time is not None
        assert abs(now() - punch.event_time) < timedelta(minutes=1)

    def test_of_zkteco(self) -> None:
        text = shell(IT, "iclock/cdata")
        line, _, call = text.partition("|")
        (address,) = re.findall(r"'(http[^']+)'", call)
        approved = re.findall(r"approve (\w+) --device-id (\w+) --site (\w+) --timezone (\S+)", IT.read_text())
        ((serial, *names),) = approved
        fields = dict(zip(("device_id", "site", "timezone"), names, strict=True))
        device = Device.model_validate({**fields, "adapter": "zkteco_adms", "serial": serial})
        parsed = self.parsed("zkteco_adms", address, said_by_a_shell(line).encode(), device)
        self.is_a_punch_of_now(parsed)
        assert parsed.answer.body == b"OK: 1"

    def test_of_heystar(self) -> None:
        text = shell(IT, "recordTime")
        (address,) = re.findall(r"(http\S+)", text)
        _, _, body = text.partition(" -d ")
        device = Device.model_validate(
            {"device_id": "door", "site": "s", "timezone": "UTC", "adapter": "hfsecurity", "token_sha256": "0" * 64}
        )
        parsed = self.parsed("hfsecurity", address, said_by_a_shell(f"printf %s {body}").encode(), device)
        self.is_a_punch_of_now(parsed)
        assert f"`{parsed.answer.body.decode()}`" in IT.read_text()


def questions(of: str) -> list[str]:
    """The questions of the page that are asked there."""
    found = [each for each in blocks(DATA, "sql") if each.startswith(f"-- {of}\n")]
    assert found
    return [each for block in found for each in block.partition("\n")[2].split(";") if each.strip()]


class TestWhatADataEngineerAsks:
    def test_the_page_asks_nothing_else(self) -> None:
        assert len(blocks(DATA, "sql")) == 3

    def test_the_counts_are_those_of_the_demo(self, demo: FleetPlan) -> None:
        events = demo.expectation.events.values()
        timed = sum(each.event_time is not None for each in events)
        said = f"{len(events)} punches of {len(demo.terminals)} devices, {timed} with a time"
        assert said in " ".join(DATA.read_text().split())

    def test_of_what_it_has_consumed(self) -> None:
        example = run_path(str(EXAMPLE))
        given = Story()
        wrong = given.raw(event("1", 8))
        given.give(wrong)
        given.raw(event("2", 9))
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(example["TABLES"])
            example["write"](database, [each for records in given.log.values() for each in records])
            answers = [database.execute(each).fetchall() for each in questions("consume.py")]
        right = (*RawEvent.decode(wrong.value).event_id,)
        assert [answers[0], answers[4]] == [[(2, 2)], [(2,)]]
        assert answers[1] == [("D1", 2, "2026-03-02T09:00:00+00:00")]
        assert [row[1:] for row in answers[2]] == [("D1", "2026-03-02T09:00:00+00:00")]
        assert answers[3] == [("".join(right),)]

    def test_of_the_ledger(self, tmp_path: Path) -> None:
        story = Story()
        first, wrong = story.raw(event("1", 8)), story.raw(event("1", 17))
        again = story.raw(event("1", 8))
        story.drop(again, RawEvent.decode(first.value).event_id)
        story.wait(story.raw(event("7", 9)))
        for number, each in enumerate((first, wrong)):
            story.deliver(story.checkin(each, "EMP-1"), f"CHECKIN-{number}")
        right = story.checkin(story.give(wrong), "EMP-1", supersedes=RawEvent.decode(wrong.value).event_id)
        story.deliver(right, "CHECKIN-1")
        path = tmp_path / "ledger.sqlite"
        database = Database(f"sqlite:///{path}")
        database.prepare()
        store = Store(database)
        store.apply(FactReader(TOPICS, NOTHING_MOVED), dict(story.log), store.load(), START_MS)
        database.close()
        with closing(sqlite3.connect(path)) as connection:
            outcomes, hours, _ = (connection.execute(each).fetchall() for each in questions("ledger"))
        assert sorted(outcomes) == [
            ("delivered", None, 3),
            ("dropped", "duplicate", 1),
            ("waiting", "unmapped_user", 1),
        ]
        assert hours == [("EMP-1", "2026-03-02", "08:00:00", "18:00:00", 2)]
