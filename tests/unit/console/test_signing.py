"""Who gets in, and who does not."""

import re
from datetime import timedelta

import pytest
from console_site import ADDRESS, NAME, PASSWORD, Browser, ConsoleSite, text_of
from httpx import Response
from ledger_story import START
from passwords import QUICK

from attendance.records.console_user import ConsoleUser

PAGES = ["/", "/devices", "/devices/D1", "/attention", "/people", "/trace"]


def enter(browser: Browser, password: str = PASSWORD, name: str = NAME, back: str = "/") -> Response:
    return browser.post("/sign-in", data={"name": name, "password": password, "back": back}, follow_redirects=False)


@pytest.mark.parametrize("address", PAGES)
def test_no_page_is_shown_to_whoever_is_not_signed_in(site: ConsoleSite, address: str) -> None:
    answer = site.browser().get(address, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")
    assert "D1" not in text_of(answer.text)


def test_after_signing_in_the_page_comes_that_was_asked_for(site: ConsoleSite) -> None:
    browser = site.browser()
    form = browser.get("/devices?q=d3")
    back = re.search(r'name="back" value="([^"]+)"', form.text)
    assert back is not None
    assert enter(browser, back=back[1]).headers["location"] == "/devices?q=d3"


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/\r\nx"]
)
def test_nobody_is_sent_to_another_site_after_signing_in(site: ConsoleSite, back: str) -> None:
    assert enter(site.browser(), back=back).headers["location"] == "/"


@pytest.mark.parametrize(
    ("name", "password"), [(NAME, "wrong"), ("nobody", PASSWORD), (NAME, "x" * 2000), (NAME, "\0")]
)
def test_a_wrong_name_or_password_lets_nobody_in(site: ConsoleSite, name: str, password: str) -> None:
    answer = enter(site.browser(), password, name)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "do not belong together" in answer.text


def test_whoever_guesses_has_to_wait_even_with_the_right_password(site: ConsoleSite) -> None:
    browser = site.browser()
    for _ in range(5):
        assert enter(browser, "wrong").status_code == 401
    assert enter(browser).status_code == 429
    site.clock.at += timedelta(minutes=5)
    assert enter(browser).status_code == 303


def test_the_cookie_is_not_for_scripts_and_other_sites(site: ConsoleSite) -> None:
    cookie = enter(site.browser()).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert NAME not in cookie


@pytest.mark.parametrize("idle", [timedelta(minutes=31), timedelta(hours=13)])
def test_a_session_ends(site: ConsoleSite, idle: timedelta) -> None:
    browser = site.signed_in()
    assert browser.get("/", follow_redirects=False).status_code == 200
    site.clock.at += idle
    assert browser.get("/", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("change", [{"disabled": True}, {"epoch": 1}])
def test_a_session_ends_when_its_account_changes(site: ConsoleSite, change: dict[str, int]) -> None:
    browser = site.signed_in()
    site.put(ConsoleUser(NAME, QUICK.hash(PASSWORD), START, "root", **change))
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_whoever_is_disabled_does_not_get_in(site: ConsoleSite) -> None:
    site.put(ConsoleUser(NAME, QUICK.hash(PASSWORD), START, "root", disabled=True))
    assert enter(site.browser()).status_code == 401


def test_whoever_signs_out_is_out_with_the_old_cookie_too(site: ConsoleSite) -> None:
    browser = site.signed_in()
    cookie = browser.cookies["punchstream"]
    token = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
    assert token is not None
    assert browser.post("/sign-out", data={"csrf": token[1]}, follow_redirects=False).status_code == 303
    browser.cookies.set("punchstream", cookie)
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_a_form_without_the_token_of_the_session_does_nothing(site: ConsoleSite) -> None:
    browser = site.signed_in()
    assert browser.post("/sign-out", data={"csrf": "guessed"}).status_code == 403
    assert browser.get("/", follow_redirects=False).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"cookie": "punchstream=x"},
    ],
)
def test_what_comes_from_another_page_is_refused(site: ConsoleSite, headers: dict[str, str]) -> None:
    browser = Browser(site.app, headers={})
    answer = browser.post("/sign-in", data={"name": NAME, "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_an_older_browser_says_where_it_comes_from_by_its_origin(site: ConsoleSite) -> None:
    browser = Browser(site.app, headers={})
    answer = browser.post(
        "/sign-in", data={"name": NAME, "password": PASSWORD}, headers={"origin": ADDRESS}, follow_redirects=False
    )
    assert answer.status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "127.0.0.1@evil.example"])
def test_another_name_is_not_served(site: ConsoleSite, host: str) -> None:
    answer = Browser(site.app, headers={}).get("/sign-in", headers={"host": host})
    assert answer.status_code == 403
