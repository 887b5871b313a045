"""Reconcile: a day of a site or a device in plain words, and never whole while something may be hidden."""

from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
from console_site import PASSWORD, Browser, ConsoleSite, text_of
from ledger_story import START, START_MS, Story, event
from passwords import QUICK

from attendance.records.console_user import ApiToken, ConsoleUser, Role
from console.record_words import GAPS
from ledger.reconciliations import Reconciliations
from operations.console_users import TOKEN_MARK
from operations.reconcile import Kind, Reconciliation

DAY = "2026-03-02"


@pytest.fixture
def story() -> Story:
    written = Story()
    written.deliver(written.checkin(written.raw(event("1", 8)), "EMP-1"), "CHK-1")
    written.wait(written.raw(event("<i>77</i>", 9)))
    return written


@pytest.fixture
def site(tmp_path: Path, story: Story) -> Any:
    console = ConsoleSite(tmp_path, story)
    console.clock.at = START.replace(day=4)
    yield console
    console.database.close()


def signed_in(site: ConsoleSite, role: Role, *sites: str) -> Browser:
    site.put(ConsoleUser("omar", QUICK.hash(PASSWORD), START, "root", role=role, sites=sites or None))
    browser = site.browser()
    browser.post("/sign-in", data={"name": "omar", "password": PASSWORD})
    return browser


def test_each_gap_is_said_in_plain_words_with_what_to_do_and_who(site: ConsoleSite) -> None:
    said = text_of(signed_in(site, "viewer").get(f"/reconcile?site=s&day={DAY}").text)
    assert "1 device has a gap." in said
    plain = GAPS["waiting"]
    assert f"{plain.what}: 1" in said
    assert f"{plain.to_do} HR" in said
    assert "Nothing is missing" not in said


def test_the_numbers_of_a_device_stand_in_a_row(site: ConsoleSite) -> None:
    said = text_of(signed_in(site, "viewer").get(f"/reconcile?device=D1&day={DAY}").text)
    assert "D1 not said 2 1 not asked 0 0 0 1 0 0" in said


def test_a_day_without_a_gap_is_said_to_be_whole(site: ConsoleSite) -> None:
    assert "Nothing is missing." in text_of(signed_in(site, "viewer").get(f"/reconcile?device=D2&day={DAY}").text)


def test_while_the_ledger_is_behind_nothing_is_said_to_be_whole(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.actions.fresh.SECONDS", 0.0)
    site.log.add("raw", b"D2", event("1", 9, "D2").encode(), timestamp=START_MS, offset=5)
    said = text_of(signed_in(site, "viewer").get(f"/reconcile?device=D2&day={DAY}").text)
    assert "The ledger is behind: it lacks 4 records." in said
    assert "Nothing is missing." not in said


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("day=yesterday", "That day is no date"),
        (f"device=D9&day={DAY}", "No device is like that."),
        (f"site=nowhere&day={DAY}", "No device is like that."),
        ("device=D1", "That day is no date"),
    ],
)
def test_a_question_that_cannot_be_answered_is_said_to_be_so(site: ConsoleSite, query: str, said: str) -> None:
    assert said in text_of(signed_in(site, "viewer").get(f"/reconcile?{query}").text)


def test_a_day_that_the_ledger_has_let_go_of_is_not_said_to_be_whole(site: ConsoleSite) -> None:
    answer = signed_in(site, "viewer").get("/reconcile?device=D2&day=2020-01-01")
    assert "The ledger does not have that day any more." in text_of(answer.text)
    assert "Nothing is missing." not in text_of(answer.text)


def test_a_program_asks_the_same(site: ConsoleSite) -> None:
    text = f"{TOKEN_MARK}t1_secret"
    digest = sha256(text.encode()).hexdigest()
    headers = {"authorization": f"Bearer {text}"}
    site.users.put(ApiToken("t1", "payroll", digest, START, "root", role="viewer", sites=("s",)))
    answer = site.browser().get(f"/api/v1/reconcile?device=D1&day={DAY}", headers=headers).json()
    assert not answer["is_whole"]
    (device,) = answer["devices"]
    assert (device["punches"], device["delivered"], device["in_erpnext"]) == (2, 1, None)
    assert [(each["kind"], each["count"]) for each in device["gaps"]] == [("waiting", 1)]
    assert site.browser().get(f"/api/v1/reconcile?day={DAY}").status_code == 401
    assert site.browser().get(f"/api/v1/reconcile?device=D9&day={DAY}", headers=headers).status_code == 404
    assert site.browser().get("/api/v1/reconcile?day=2020-01-01", headers=headers).status_code == 409


def test_somebody_of_other_sites_sees_nothing_of_this_one(site: ConsoleSite) -> None:
    Reconciliations(site.database).save("s", date(2026, 3, 1), Reconciliation([], ["ERPNext was asleep"]), START)
    assert "ERPNext was asleep" in signed_in(site, "viewer").get("/reconcile").text
    elsewhere = signed_in(site, "viewer", "t")
    assert "ERPNext was asleep" not in elsewhere.get("/reconcile").text
    for query in (f"site=s&day={DAY}", f"device=D1&day={DAY}", f"day={DAY}"):
        assert "No device is like that." in elsewhere.get(f"/reconcile?{query}").text


def test_a_day_that_goes_on_is_said_to_be_so(site: ConsoleSite) -> None:
    site.clock.at = START
    assert "The day is not over yet" in text_of(signed_in(site, "viewer").get(f"/reconcile?site=s&day={DAY}").text)


def test_every_kind_of_gap_has_words() -> None:
    assert set(GAPS) == set(get_args(Kind))
