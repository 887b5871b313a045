"""What each page says of a ledger that is known."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
import yaml
from console_site import NAME, PASSWORD, ConsoleSite, text_of
from ledger_story import START, event
from passwords import QUICK

from attendance.errors import Reason
from attendance.records.console_user import ConsoleUser
from attendance.registry import Registry
from console.words import DEVICE_STATES, OUTCOMES, REASONS

ADDRESSES = ["/", "/devices", "/devices/D1", "/attention", "/people", "/trace"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("language", ["en", "ar"])
def test_every_page_is_whole_in_every_language(site: ConsoleSite, address: str, language: str) -> None:
    browser = site.signed_in()
    browser.post("/language", data={"language": language, "back": "/"})
    answer = browser.get(address)
    assert answer.status_code == 200
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "As of" in answer.text or language == "ar" or address == "/trace"


def test_the_overview_counts_what_came_today_what_waits_and_what_failed(site: ConsoleSite) -> None:
    said = text_of(site.signed_in().get("/").text)
    assert "5 Punches today" in said
    assert "1 On its way to ERPNext" in said
    assert "1 Punches that wait" in said
    assert "1 Needs attention" in said
    assert "2 Devices: Never heard" in said
    assert "1 Devices: Silent" in said


def test_the_overview_of_a_week_later_compares_with_this_day_up_to_the_same_hour(site: ConsoleSite) -> None:
    site.clock.at += timedelta(days=7) - timedelta(hours=2)
    said = text_of(site.signed_in().get("/").text)
    assert "0 Punches today" in said
    # Of the punches at 8, 8, 9, 10 and 11 o'clock, those before 10.
    assert "Monday a week ago, until now: 3" in said


def test_what_is_not_in_erpnext_is_counted_for_all_and_for_each_site_however_old_it_is(site: ConsoleSite) -> None:
    site.clock.at += timedelta(days=7)
    page = site.signed_in().get("/").text
    said = text_of(page)
    assert "1 On its way to ERPNext The oldest waits since" in said
    assert "1 Punches that wait" in said
    (row,) = re.findall(r'<tr><th scope="row"><a href="/devices\?site=s".*?</tr>', page, re.DOTALL)
    # Today, waiting, needs attention.
    assert re.findall(r"<td>(\d+)</td>", row)[:3] == ["0", "1", "1"]


def test_devices_that_need_somebody_stand_first(site: ConsoleSite) -> None:
    site.clock.at = site.clock.at.replace(hour=0, minute=10)
    page = site.signed_in().get("/devices").text
    assert [*re.findall(r'href="/devices/(\w+)"', page)] == ["D2", "D3", "D1"]
    assert "Connected" in text_of(page)


def test_outside_of_the_working_hours_of_a_site_nobody_is_sent_to_its_devices(site: ConsoleSite) -> None:
    file = site.context.registry.path
    hours = {"site": "s", "working_hours": "tue 22:00-06:00; wed,thu 07:00-12:00"}
    file.write_text(yaml.safe_dump({"sites": [hours], "devices": yaml.safe_load(file.read_text())}))
    site.app.context = replace(site.context, registry=Registry(file))
    browser = site.signed_in()
    said = text_of(browser.get("/").text)
    assert "1 Devices: Outside working hours" in said
    assert "Devices: Silent" not in said
    page = text_of(browser.get("/devices/D1").text)
    assert "Nobody works at its site now" in page
    assert "Working hours Tuesday 22:00-06:00 Wednesday and Thursday 07:00-12:00" in page


@pytest.mark.parametrize(("query", "found"), [("q=d3", ["D3"]), ("state=silent", ["D1"]), ("site=other", [])])
def test_the_list_of_devices_is_narrowed(site: ConsoleSite, query: str, found: list[str]) -> None:
    page = site.signed_in().get(f"/devices?{query}").text
    assert [*re.findall(r'href="/devices/(\w+)"', page)] == found


def test_what_a_device_says_of_itself_is_shown_and_does_nothing(site: ConsoleSite) -> None:
    page = site.signed_in().get("/devices/D1").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e" in page
    assert "<script>alert" not in page


def test_a_device_that_is_not_in_the_fleet_has_no_page(site: ConsoleSite) -> None:
    answer = site.signed_in().get("/devices/D9")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text


def test_what_failed_is_said_in_plain_words_with_who_can_mend_it(site: ConsoleSite) -> None:
    said = text_of(site.signed_in().get("/attention").text).replace("&#39;", "'")
    plain = REASONS[Reason.CLOCK_SKEW]
    assert f"{plain.what} 1 {plain.to_do} HR" in said


def test_a_number_that_nobody_knows_is_shown_with_where_it_was_seen(site: ConsoleSite) -> None:
    said = text_of(site.signed_in().get("/people").text)
    assert "1 numbers, 1 punch waits." in said
    assert "77 s D1 1" in said


def test_a_trace_of_an_employee_has_every_punch_of_the_day_and_what_became_of_it(site: ConsoleSite) -> None:
    page = site.signed_in().get("/trace?employee=EMP-1&day=2026-03-02").text
    said = text_of(page)
    assert OUTCOMES["delivered"] in said
    assert "Written to ERPNext" in said
    assert 'href="https://erp.example/app/employee-checkin/CHK-1"' in page


def test_a_trace_by_event_id_names_the_punch_that_was_kept(site: ConsoleSite) -> None:
    repeat = event("1", 8, "D2").event_id
    page = site.signed_in().get(f"/trace?event_id={repeat}").text
    assert f'href="/trace?event_id={event("1", 8).event_id}"' in page
    assert REASONS[Reason.REPEAT].what in page


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("employee=EMP-1", "Enter the day too."),
        ("day=2026-03-02", "Enter the employee too."),
        ("device=D1", "Enter both the device and the number on it."),
        ("employee=EMP-1&day=tomorrow", "That day is no date"),
        ("employee=EMP-9&day=2026-03-02", "Nobody has heard of that."),
    ],
)
def test_a_question_that_cannot_be_answered_is_said_to_be_so(site: ConsoleSite, query: str, problem: str) -> None:
    page = site.signed_in().get(f"/trace?{query}").text
    assert problem in page
    assert 'role="alert"' in page


def test_somebody_of_other_sites_traces_nothing_of_this_one(site: ConsoleSite) -> None:
    site.put(ConsoleUser(NAME, QUICK.hash(PASSWORD), START, "root", role="hr", sites=("other",)))
    page = site.signed_in().get("/trace?employee=EMP-1&day=2026-03-02").text
    assert "Nobody has heard of that." in page
    assert "CHK-1" not in page


def test_somebody_of_other_sites_sees_nothing_of_this_one_on_the_overview(site: ConsoleSite) -> None:
    site.put(ConsoleUser(NAME, QUICK.hash(PASSWORD), START, "root", role="hr", sites=("other",)))
    page = site.signed_in().get("/").text
    said = text_of(page)
    assert "0 Punches today" in said
    assert "0 Punches that wait" in said
    assert "0 Needs attention" in said
    assert "D1" not in said


def test_every_reason_and_every_state_has_words() -> None:
    assert set(REASONS) == set(Reason)
    assert len({plain.what for plain in REASONS.values()}) == len(REASONS)
    assert len(set(DEVICE_STATES.values())) == len(DEVICE_STATES)


def test_while_the_ledger_does_not_answer_a_page_says_so(site: ConsoleSite) -> None:
    browser = site.signed_in()
    with site.database.transaction() as connection:
        connection.exec_driver_sql("drop table device_status")
    answer = browser.get("/devices")
    assert answer.status_code == 503
    assert "The console does not reach its data." in answer.text


@pytest.mark.parametrize(
    "address",
    ["/devices?number=0", "/people?after=-1", "/people?after=WzEsMl0", f"/devices?q={'x' * 300}"],
)
def test_an_address_that_cannot_be_is_refused_in_words(site: ConsoleSite, address: str) -> None:
    answer = site.signed_in().get(address)
    assert answer.status_code == 422
    assert "Go back and try again." in answer.text
