"""The desk as HR and IT have it: in a browser, beside a running pipeline.

Playwright keeps an event loop in this thread: nothing here runs one of its own. The pictures that it takes stay in the
folder `desk-pictures` of the run.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from eventually import eventually
from frappe_bench import FrappeBench, ServedSite, SiteUser
from not_run import not_run
from playwright.sync_api import Browser, Locator, Page, Response, expect
from playwright.sync_api import TimeoutError as NotInTime
from site_pipeline import SitePipeline, event, minute

CHECKIN = "Employee Checkin"
SAVE = "frappe.desk.form.save.savedocs"
LIST = "frappe.desk.reportview.get"
EDITOR = "/ace-builds/"
WITHOUT_EDITOR = ("Failed to execute 'appendChild' on 'Node': Unexpected token '<'", "(reading 'config')")
"""What Frappe's own scripts fail with where the editor is not there."""
NOT_THERE = 404
WITHIN = 60.0
"""Seconds in which the desk shows what it is to show: the machine may be busy."""
DRAWN = 10.0
"""Seconds in which a list draws the rows that it has."""
ELSEWHERE = "America/New_York"
"""Where the browser is, which must not matter: the desk shows the hours of the site."""


class Desk:
    """Somebody before the desk."""

    def __init__(self, page: Page, address: str, pictures: Path) -> None:
        self.page = page
        self._address = address
        self._pictures = pictures
        self._number = count(1)

    def opens(self, path: str) -> None:
        """Open a page of the desk by its address."""
        self.page.goto(f"{self._address}/app/{path}")

    def takes_a_picture(self, name: str) -> None:
        """Of what is seen."""
        self.page.screenshot(path=self._pictures / f"{next(self._number)}-{name}.png", animations="disabled")

    @property
    def shown(self) -> Locator:
        """The page in front. The desk keeps those of before, hidden."""
        return self.page.locator(".page-container:visible")

    def field(self, name: str) -> Locator:
        """A field of the form, or a box above the list."""
        return self.shown.locator(f".frappe-control[data-fieldname='{name}']")

    def fills(self, **fields: str) -> None:
        """Type into fields, each left by the tabulator."""
        for name, value in fields.items():
            box = self.field(name).locator("input").first
            box.fill(value)
            box.press("Tab")

    def links(self, **fields: str) -> None:
        """Type names of documents, and choose each from those that the desk finds."""
        for name, value in fields.items():
            self.field(name).locator("input").first.fill(value)
            self.field(name).locator(".awesomplete [role=option]", has_text=value).first.click()
            # The desk asks the server whether there is one before the form has it.
            self.page.wait_for_function("([name, value]) => cur_frm.doc[name] === value", arg=[name, value])

    def chooses(self, **fields: str) -> None:
        """Choose from what fields offer."""
        for name, value in fields.items():
            self.field(name).locator("select").select_option(value)

    def adds_a_row(self, table: str, **cells: str) -> None:
        """Add a row to a table of the form."""
        grid = self.field(table)
        grid.locator(".grid-add-row").click()
        row = grid.locator(".grid-body .grid-row").last
        for name, value in cells.items():
            row.locator(f"[data-fieldname='{name}']").first.click()
            box = row.locator(f"[data-fieldname='{name}'] input:visible").first
            box.fill(value)
            box.press("Tab")

    def saves(self) -> bool:
        """Save the form. Returns whether the site took it."""
        with self.page.expect_response(lambda answer: SAVE in answer.url) as saved:
            self.shown.locator(".page-head .primary-action", has_text="Save").click()
        return saved.value.ok

    @property
    def message(self) -> Locator:
        """What the desk says in a window of its own."""
        return self.page.locator(".msgprint-dialog:visible")

    def closes_the_message(self) -> None:
        """And sees the form again."""
        self.message.locator(".btn-modal-close:visible").click()
        expect(self.message).to_have_count(0)

    def finds_the_punch(self, number: str, outcome: str) -> Locator:
        """Open the raw log again until the row of a number of a device says what became of its punch."""
        rows = self.shown.locator(".list-row-container .list-row", has_text=number)

        def listed(answer: Response) -> bool:
            return answer.url.endswith(LIST) and number in (answer.request.post_data or "")

        def look() -> Locator | None:
            # The desk keeps what a box had when the list was last open, and then asks by itself.
            with self.page.expect_response(listed):
                self.opens("attendance-raw-log")
                self.fills(device_user_id=number)
            with suppress(NotInTime):
                rows.wait_for(timeout=DRAWN * 1000)
                return rows if outcome in rows.inner_text() else None
            return None

        return eventually(look, within=WITHIN, wanted=f"the punch of {number} is {outcome}")


@pytest.fixture(scope="module")
def built(bench: FrappeBench) -> None:
    """What a browser loads. Where it has to be (PUNCHSTREAM_REQUIRE_ASSETS=1) its absence is a failure."""
    if (missing := bench.lacks()) is not None:
        not_run(f"not run: {missing}", "ASSETS")


@pytest.fixture(scope="module")
def desk(
    built: None,
    browser: Browser,
    site: ServedSite,
    prepared: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Desk]:
    """The administrator, signed in by name and password. No script of a page fails that the bench has."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, timezone_id=ELSEWHERE)
    context.set_default_timeout(WITHIN * 1000)
    expect.set_options(timeout=WITHIN * 1000)
    problems: list[str] = []
    absent: list[str] = []
    context.on("weberror", lambda error: problems.append(f"{error.page.url}: {error.error.stack}"))
    context.on("response", lambda answer: absent.append(answer.url) if answer.status == NOT_THERE else None)
    page = context.new_page()
    page.goto(f"{site.url}/login")
    page.locator("#login_email").fill(prepared["administrator"]["user"])
    page.locator("#login_password").fill(prepared["administrator"]["password"])
    page.locator(".btn-login:visible").click()
    page.wait_for_url(re.compile("/app"))
    yield Desk(page, site.url, tmp_path_factory.mktemp("desk-pictures"))
    context.close()
    # A bench may be without the editor of JSON, of which the forms show the rest.
    known = WITHOUT_EDITOR if any(EDITOR in each for each in absent) else ()
    assert [each for each in problems if not any(words in each for words in known)] == []


def test_a_device_and_a_row_of_the_desk_make_a_check_in_of_a_punch_that_waits_and_it_leads_to_the_raw_log(
    desk: Desk,
    pipeline: SitePipeline,
    console_asked: None,
    administrator: SiteUser,
    prepared: dict[str, Any],
    make: Any,
) -> None:
    employee = make.employee("Walker")
    device, number, time = f"walk-{make.run}", f"W{make.run}", minute(ago=130)
    make.goes_at_the_end("Biometric Device", device)

    desk.opens("biometric-device/new")
    desk.fills(device_id=device, device_name="The gate", site=f"site-{make.run}", timezone="Asia/Riyadh")
    assert desk.saves()
    expect(desk.message).to_contain_text(f"Token of {device}")
    expect(desk.message).to_contain_text("Nobody can read it again.")
    token = desk.message.locator("code").inner_text()
    desk.takes_a_picture("token-of-a-new-device")
    desk.closes_the_message()
    desk.opens(f"biometric-device/{device}")
    expect(desk.field("device_id")).to_contain_text(device)
    assert token not in desk.page.content()
    eventually(lambda: pipeline.post(device, token, []) == 200, within=WITHIN, wanted=f"{device} may send")

    assert pipeline.post(device, token, [event(number, time)]) == 200
    desk.finds_the_punch(number, "waiting")
    desk.takes_a_picture("a-punch-that-waits")

    desk.opens("biometric-user-map/new")
    desk.fills(device_user_id=number)
    desk.links(employee=employee, device=device)
    assert desk.saves()
    desk.takes_a_picture("a-row-of-the-user-map")
    (row,) = administrator.find("Biometric User Map", [["device_user_id", "=", number]], ["name", "employee"])
    make.goes_at_the_end("Biometric User Map", row["name"])
    fields = ["name", "time", "device_id", "event_id"]
    (checkin,) = eventually(
        lambda: administrator.find(CHECKIN, [["employee", "=", employee]], fields),
        within=WITHIN,
        wanted="the check-in of the punch that waited",
    )
    make.goes_at_the_end(CHECKIN, checkin["name"])
    at_the_site = time.astimezone(ZoneInfo(prepared["zone"])).replace(tzinfo=None)
    assert (row["employee"], checkin["time"], checkin["device_id"]) == (employee, str(at_the_site), device)

    listed = desk.finds_the_punch(number, "delivered")
    desk.takes_a_picture("the-list-of-the-raw-log")
    listed.locator(".list-subject a").first.click()
    expect(desk.field("hash")).to_contain_text(checkin["event_id"])
    desk.field("document").locator("a").click()
    expect(desk.page).to_have_url(re.compile(f"/employee-checkin/{checkin['name']}$"))
    to_the_punch = desk.page.get_by_role("button", name="Raw Log", exact=True)
    expect(to_the_punch).to_be_visible()
    desk.takes_a_picture("the-check-in")
    to_the_punch.click()

    expect(desk.page).to_have_url(re.compile(f"/attendance-raw-log/{checkin['event_id']}$"))
    expect(desk.field("hash")).to_contain_text(checkin["event_id"])
    expect(desk.field("outcome")).to_contain_text("delivered")
    expect(desk.field("employee")).to_contain_text(employee)
    expect(desk.field("event_time")).to_contain_text(f"{at_the_site:%H:%M}")
    desk.takes_a_picture("the-punch-in-the-raw-log")


def test_the_section_of_a_shift_type_refuses_two_that_make_its_attendance_and_keeps_what_is_filled_in(
    desk: Desk, administrator: SiteUser, make: Any
) -> None:
    make.device("door", "a-token-of-a-door-4417")
    began = str(minute(ago=30 * 24 * 60).date())
    times = {"start_time": "08:00:00", "end_time": "16:00:00", "process_attendance_after": began}
    shift = make.document("Shift Type", __newname=f"Walk-{make.run}", enable_auto_attendance=1, **times)

    desk.opens(f"shift-type/{shift}")
    desk.chooses(punchstream_attendance_by="Punchstream")
    desk.fills(punchstream_half_day_below="4.5")
    desk.chooses(punchstream_one_punch="Half Day")
    desk.adds_a_row("punchstream_places", site=f"site-{make.run}")
    assert not desk.saves()
    expect(desk.message).to_contain_text("Either ERPNext or Punchstream makes the Attendance of a shift.")
    desk.takes_a_picture("two-that-make-the-attendance")
    desk.closes_the_message()
    assert administrator.get("Shift Type", shift)["punchstream_attendance_by"] == "ERPNext"

    desk.field("enable_auto_attendance").locator("input").first.uncheck()
    assert desk.saves()
    desk.field("punchstream_places").scroll_into_view_if_needed()
    desk.takes_a_picture("the-section-of-a-shift-type")

    said = administrator.get("Shift Type", shift)
    assert [said[f"punchstream_{name}"] for name in ("attendance_by", "half_day_below", "one_punch")] == [
        "Punchstream",
        4.5,
        "Half Day",
    ]
    assert [(place["site"], place.get("device")) for place in said["punchstream_places"]] == [
        (f"site-{make.run}", None)
    ]
