"""The demo on Apache Kafka, and each purpose of the console carried out on its data as a person would, in a browser.

On the embedded broker it is `make demo`, with which `.ci/run` ends. Here every part is a process of its own. Playwright
keeps an event loop in this thread: nothing here runs one of its own.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from eventually import eventually
from playwright.sync_api import Browser, Page, expect
from scraping import FAULTS, QUIET, is_of, metrics_ports, queries, scraping

pytestmark = pytest.mark.timeout(420)

SEED = 7
# Whatever the fleet says that nobody may ever see again, as the fleet itself knows it.
UNSEEN = f"""
import json
from attendance.times import now
from sandbox.fleet.plan import PHOTO, plan
print(json.dumps([PHOTO[:64], *(terminal.token for terminal in plan({SEED}, now()).terminals)]))
"""
ERPNEXT_SECRET = "admin-secret"
NEWCOMER = {"name": "HR-EMP-90001", "employee_name": "Nadia Newcomer", "attendance_device_id": "90001"}
"""With a number that no terminal has."""
SHIFT = {
    "name": "Demo Shift",
    "start_time": "7:00:00",
    "end_time": "19:00:00",
    "begin_check_in_before_shift_start_time": 7 * 60,
    "allow_check_out_after_shift_end_time": 5 * 60,
}
"""As the demo has it."""
NOBODY = "Nobody knows whose number this is"
STAYS = "Everything stays up until Ctrl-C."
WITHIN = 60
"""Seconds in which a page shows what it is to show: the machine may be busy."""


class Demo:
    """`punchstream demo --stay`, once its account is printed."""

    def __init__(self, kept: Path, login: dict[str, str]) -> None:
        kept.mkdir()
        self.kept = kept
        self._login = login
        self._output = kept / "demo.out"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [
                    *("punchstream", "demo", "--broker", "kafka", "--vendors", "all", "--seed", str(SEED)),
                    *("--seconds", "4", "--keep", str(kept), "--stay"),
                ],
                cwd=kept,
                env=login | {"CONSOLE_PORT": "0", "DIRECTORY_INTERVAL": "2 s"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        def stays() -> bool:
            assert self._process.poll() is None, self.output
            return STAYS in self.output

        eventually(stays, within=300, wanted=STAYS)

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def metrics_ports(self) -> dict[str, int]:
        """By stage."""
        return metrics_ports(self._process.pid)

    def says(self, pattern: str) -> str:
        found = re.search(pattern, self.output, re.MULTILINE)
        assert found is not None, self.output
        return found[1]

    @property
    def settings(self) -> dict[str, str]:
        """What leads another command to it."""
        lines = (self.kept / "env").read_text().splitlines()
        return {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["punchstream", *arguments],
            cwd=self.kept,
            env=self._login | self.settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def erpnext(self, path: str, body: object = None) -> str:
        """Ask the stand-in for ERPNext, or have it do something."""
        url = f"{self.settings['ERPNEXT_URL']}/sandbox/{path}"
        answer = httpx.get(url) if body is None else httpx.post(url, json=body, timeout=60)
        assert answer.is_success, answer.text
        return answer.text

    def checkins(self, employee: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.erpnext("checkins").splitlines()]
        return [row for row in rows if row["employee"] == employee]

    def statuses(self, employee: str) -> set[str]:
        """Of the Attendance that counts."""
        rows = [json.loads(line) for line in self.erpnext("attendance").splitlines()]
        return {row["status"] for row in rows if row["employee"] == employee and row["docstatus"] == 1}

    def stop(self) -> int:
        """End it as Ctrl-C does. Returns its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


@pytest.fixture(scope="module")
def demo(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory, login: dict[str, str]) -> Iterator[Demo]:
    """It runs while the tests of this file do."""
    running = Demo(tmp_path_factory.mktemp("demo") / "kept", login)
    try:
        running.wait()
        yield running
    finally:
        running.stop()


class Walk:
    """Somebody before the console."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self._address = address

    def go(self, path: str) -> None:
        """Open a page by its address."""
        answer = self.page.goto(f"{self._address}{path}")
        assert answer is not None
        assert answer.ok, path

    def sees(self, text: "str | re.Pattern[str]") -> None:
        """Wait until the page shows it."""
        expect(self.page.locator("main")).to_contain_text(text)

    def shows_once_it_is_read(self, path: str, text: str) -> None:
        """Open a page again until it shows what the ledger is to read in a moment."""
        self.opens_until(path, lambda: text in self.page.locator("main").inner_text())

    def opens_until(self, path: str, is_so: Callable[[], bool]) -> None:
        """Open a page again until it is as it is to be."""

        def look() -> bool:
            self.go(path)
            return is_so()

        eventually(look, within=WITHIN, wanted=path)

    def fill(self, form: str, **fields: str) -> None:
        """Fill fields of the form with that action in, by their names."""
        for name, value in fields.items():
            self.page.locator(f"form[action='{form}'] [name={name}]").first.fill(value)

    def send(self, form: str) -> None:
        self.page.locator(f"form[action='{form}'] button").first.click()

    def tells(self) -> str:
        """What the page says of what was done."""
        return self.page.get_by_role("status").first.inner_text()

    def opens_a_number_that_nobody_knows(self) -> str:
        self.go("/people")
        self.page.locator("tr", has_text=NOBODY).locator("a").first.click()
        return self.page.locator("h1").inner_text().rpartition(" ")[2]

    def maps_it_to(self, words: str, note: str = "") -> None:
        """Find the employee, and say that the number of the page is theirs."""
        self.page.locator("input[name=find]").first.fill(words)
        self.page.get_by_role("button", name="Find").click()
        self.page.locator("#found input[name=employee]").first.check()
        self.fill("/people/map", note=note)
        self.page.get_by_role("button", name="It is this employee's").click()

    def waits_until_punches_are_in_erpnext(self) -> int:
        """Of the number of the page, as it shows them flow. Returns how many."""
        for name in ("Waiting", "On its way to ERPNext"):
            tile = self.page.locator("#progress .tile", has=self.page.get_by_text(name, exact=True))
            expect(tile.locator("strong")).to_have_text("0")
        tile = self.page.locator("#progress .tile", has=self.page.get_by_text("In ERPNext", exact=True))
        return int(tile.locator("strong").inner_text())

    def agrees(self, kind: str, note: str) -> None:
        """To the plan that is shown, and wait until the job has done it."""
        self.page.locator(f"form[action$='/{kind}'] input[name=note]").fill(note)
        self.page.locator(f"form[action$='/{kind}'] button").click()
        self.waits_for_the_job()

    def waits_for_the_job(self) -> None:
        """Until it is over, and nothing of it failed."""
        expect(self.page.locator("#job")).not_to_have_attribute("hx-get", re.compile("."))
        expect(self.page.locator("#job dd").nth(1)).to_have_text("0")


@pytest.fixture(scope="module")
def walk(demo: Demo, browser: Browser) -> Iterator[Walk]:
    """The administrator, signed in with the password that the demo has printed. No page has an error of its own."""
    address = demo.says(r"^Console: (http\S+)")
    context = browser.new_context()
    context.set_default_timeout(WITHIN * 1000)
    expect.set_options(timeout=WITHIN * 1000)
    problems: list[str] = []
    context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    page = context.new_page()
    page.goto(address)
    page.locator("input[name=name]").fill("admin")
    page.locator("input[name=password]").fill(demo.says(r"^Console: .* with (\S+), which is shown once"))
    page.locator("button.main").click()
    expect(page.locator("h1").first).to_be_visible()
    yield Walk(page, address)
    context.close()
    assert problems == []


def today() -> date:
    """In the zone of ERPNext and of the console."""
    return datetime.now(ZoneInfo("Asia/Riyadh")).date()


def test_the_demo_on_kafka_balances(demo: Demo) -> None:
    lines = demo.output.splitlines()
    assert "Balanced." in lines
    assert any(line.endswith(" dead-lettered") for line in lines)


def test_it_lets_a_terminal_in_that_knocks(demo: Demo, walk: Walk) -> None:
    push = demo.says(r"^Punches: POST (\S+)/v1/events$")
    knock = {"SN": "WALK0001", "table": "ATTLOG", "Stamp": "1"}
    punch = f"4711\t{today() - timedelta(days=1)} 08:00:00\t0\t1\t0\t0\n"

    def punches() -> int:
        return httpx.post(f"{push}/iclock/cdata", params=knock, content=punch).status_code

    assert punches() == 403
    walk.go("/devices")
    walk.page.get_by_role("link", name=re.compile("Devices that ask to be let in")).click()
    walk.shows_once_it_is_read("/pending", "WALK0001")
    walk.page.get_by_label("WALK0001").check()
    walk.fill("/pending/approve", site="berlin", timezone="Europe/Berlin")
    walk.page.get_by_role("button", name="Let them in").click()
    assert "WALK0001" in walk.tells()
    # It sends again by itself; push follows the fleet a moment after.
    eventually(lambda: punches() == 200, within=WITHIN, wanted="the punch is taken")
    walk.shows_once_it_is_read("/trace?device=WALK0001&user=4711", "Nobody knows whose number this is")


def test_a_new_device_gets_a_key_and_is_paused_and_resumed(walk: Walk) -> None:
    walk.go("/add-device")
    walk.fill("/add-device", device_id="GATE-98", site="riyadh", timezone="Asia/Riyadh")
    walk.page.get_by_role("button", name="Add the device").click()
    assert re.search(r"said once: \S+", walk.tells())
    walk.sees("It was never heard")
    walk.go("/devices/berlin-01")
    walk.page.locator("form[action$='/test'] button").click()
    walk.sees("Good: push, adapter json")
    walk.fill("/pause", why="moved to another gate")
    walk.send("/pause")
    walk.sees("moved to another gate")
    walk.send("/resume")
    assert walk.tells() == "Resumed: 1"


def test_hr_corrects_a_mapping_that_was_wrong(demo: Demo, walk: Walk) -> None:
    walk.opens_a_number_that_nobody_knows()
    address = walk.page.url
    walk.maps_it_to("Person 00009", "asked the foreman")
    count = walk.waits_until_punches_are_in_erpnext()
    assert count > 0
    before = len(demo.checkins("HR-EMP-00011"))
    walk.page.goto(address)
    walk.maps_it_to("Person 00011", "asked again")
    walk.go("/corrections")
    walk.fill("/corrections/look", first=str(today() - timedelta(days=1)), last=str(today()))
    walk.send("/corrections/look")
    walk.sees(f"{count} check-ins in ERPNext would be different")
    walk.agrees("apply", "wrong person")
    # The job has sent them; the sink replaces the check-ins a moment after.
    eventually(
        lambda: len(demo.checkins("HR-EMP-00011")) == before + count, within=WITHIN, wanted="the check-ins are replaced"
    )


def test_hr_ignores_a_visitor_and_takes_it_back(walk: Walk) -> None:
    number = walk.opens_a_number_that_nobody_knows()
    walk.fill("/people/ignore", note="a visitor")
    walk.send("/people/ignore")
    assert walk.tells() == f"Number {number} is ignored now."
    walk.shows_once_it_is_read("/people/decided", "a visitor")
    walk.page.locator("form[action*='ignor'] button").first.click()
    assert walk.tells().startswith(f"Number {number} is ignored no more.")
    walk.shows_once_it_is_read("/people", number)


def test_hr_maps_a_newcomer_and_puts_days_right_that_were_closed_without_her(demo: Demo, walk: Walk) -> None:
    demo.erpnext(
        "employees",
        [
            NEWCOMER
            | {
                "status": "Active",
                "default_shift": SHIFT["name"],
                "date_of_joining": str(today() - timedelta(days=30)),
            }
        ],
    )
    closed = {
        "enable_auto_attendance": 1,
        "process_attendance_after": str(today() - timedelta(days=30)),
        "last_sync_of_checkin": f"{today() - timedelta(days=1)} 23:59:59",
    }
    demo.erpnext("shift_types", [SHIFT | closed])
    demo.erpnext("hourly", {})
    assert demo.statuses(NEWCOMER["name"]) == {"Absent"}
    eventually(lambda: NEWCOMER["name"] in demo.command("users", "list").stdout, within=WITHIN, wanted="she is known")
    walk.opens_a_number_that_nobody_knows()
    walk.maps_it_to("Nadia", "HR's list")
    count = walk.waits_until_punches_are_in_erpnext()
    assert len(demo.checkins(NEWCOMER["name"])) == count > 0
    walk.go("/late")
    walk.fill("/late/look", first=str(today() - timedelta(days=1)))
    walk.send("/late/look")
    walk.sees(re.compile(r"[1-9]\d* of \d+ days can be put right"))
    walk.sees("Nadia Newcomer")
    walk.agrees("repair", "her number was not known")
    assert "Present" in demo.statuses(NEWCOMER["name"])


def test_what_failed_is_replayed_or_discarded_as_jobs(walk: Walk) -> None:
    walk.go("/attention")
    walk.page.get_by_role("link", name="What the device sent is not a complete punch").click()
    walk.page.locator("button[name=which][value=all]").first.click()
    walk.waits_for_the_job()
    walk.go("/attention")
    walk.page.get_by_role("link", name="What the device sent is not a complete punch").click()
    walk.page.locator("input[name=note]").first.fill("the vendor has to mend it")
    walk.page.locator("button[formaction='/attention/discard'][value=all]").click()
    walk.waits_for_the_job()
    left = walk.page.get_by_role("link", name="What the device sent is not a complete punch")
    walk.opens_until("/attention", lambda: left.count() == 0)


def test_hr_gives_a_punch_its_right_time_and_sees_it_arrive(walk: Walk) -> None:
    walk.go("/attention")
    walk.page.get_by_role("link", name="The time of the punch cannot be right").click()
    walk.page.locator("table a").first.click()
    walk.page.locator("a[href*='/trace?event_id=']").first.click()
    walk.page.get_by_role("link", name="Give it the right time").first.click()
    walk.fill("/right-time/look", time=f"{today() - timedelta(days=1)}T08:00:00", note="the foreman's list")
    walk.page.get_by_role("button", name="Show what will be done").click()
    walk.page.get_by_role("button", name="Give this time").click()
    walk.sees("The punch counts at")
    expect(walk.page.locator(".journey.delivered, .journey.waiting").first).to_contain_text("the foreman's list")


def test_a_file_is_looked_at_and_taken_in(walk: Walk, tmp_path: Path) -> None:
    day = today() - timedelta(days=3)
    file = tmp_path / "day.dat"
    file.write_text(f"1001\t{day} 05:01:00\t1\t0\t1\t0\n1001\t{day} 21:02:00\t1\t1\t1\t0\nbad line\n")
    walk.go("/imports")
    walk.page.locator("input[type=file]").set_input_files(str(file))
    walk.fill("/imports/look", device="riyadh-01")
    walk.page.get_by_role("button", name="Look at the file").click()
    walk.sees("Nothing is taken in yet.")
    walk.page.get_by_role("button", name="Take in 2 punches").click()
    walk.sees("The file is taken in, and removed from the console.")
    walk.sees("Refused")


def test_a_day_is_reconciled_and_what_was_done_is_written_down(walk: Walk) -> None:
    # Of the demo's own days some punches wait, and which days these are depends on the hour.
    before = today() - timedelta(days=20)
    walk.go("/reconcile")
    walk.fill("/reconcile", day=str(before))
    walk.send("/reconcile")
    walk.shows_once_it_is_read(f"/reconcile?day={before}", "Nothing is missing.")
    walk.go("/activity")
    walk.sees("admin")
    walk.go("/")
    walk.sees("Punches today")


def test_every_query_of_the_dashboards_and_of_the_rules_finds_something(
    prometheus: None, demo: Demo, tmp_path: Path
) -> None:
    with scraping(tmp_path, demo.metrics_ports) as beside:
        found = {query: beside.finds(query) for query in queries()}
    assert not [query for query, is_found in found.items() if not (is_found or is_of(query, QUIET | FAULTS))]
    assert not [query for query, is_found in found.items() if is_found and is_of(query, QUIET)]


def test_the_audit_balances_after_all_of_it_and_nothing_that_is_left_holds_a_token_a_secret_or_a_photograph(
    demo: Demo,
) -> None:
    # What was done last may be on its way.
    eventually(
        lambda: demo.command("audit", "--against-erpnext").returncode == 0, within=WITHIN, wanted="the audit balances"
    )
    assert demo.stop() == 0, demo.output
    asked = subprocess.run([sys.executable, "-c", UNSEEN], capture_output=True, text=True, check=True)
    photo, *tokens = json.loads(asked.stdout)
    assert sha256(tokens[0].encode()).hexdigest() in (demo.kept / "devices.yaml").read_text()
    files = [file for file in demo.kept.rglob("*") if file.is_file()]
    assert {"push.log", "stream.log", "sink.log", "directory.log"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        # Among them are the topics.
        found = [unseen for unseen in (photo, *tokens, ERPNEXT_SECRET) if unseen.encode() in content]
        assert found == [], file
