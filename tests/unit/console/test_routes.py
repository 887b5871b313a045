"""Who may come in by which route: every one that the application has, asked by everybody who may not."""

import asyncio
from typing import Any, Final, get_args

import pytest
from console_routes import READS, Way, ways
from console_site import NAME, PASSWORD, Browser, ConsoleSite, csrf_of
from fastapi import FastAPI
from ledger_story import START
from passwords import QUICK

from attendance.records.console_user import ConsoleUser, Role
from attendance.topics import TABLE
from console.acting import session_of
from console.api.app import PATH
from console.api.calling import calling
from operations.console_users import add_token

PUBLIC: Final = {
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/openid"),
    ("GET", "/sign-in/openid/return"),
    ("POST", "/language"),
    ("GET", f"{PATH}/openapi.json"),
}
"""What nobody has to be signed in for."""
OWN: Final = {("POST", "/sign-out")}
"""What everybody may do who is signed in."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)


def closed(site: ConsoleSite) -> list[Way]:
    found = [each for each in ways(site.app.fastapi) if (each.method, each.path) not in PUBLIC]
    assert len(found) > 15
    return found


def accounts(site: ConsoleSite) -> dict[Role, Browser]:
    browsers: dict[Role, Browser] = {}
    for role in ROLES:
        site.put(ConsoleUser(f"a {role}", QUICK.hash(PASSWORD), START, "root", role=role))
        browsers[role] = site.browser()
        assert browsers[role].post("/sign-in", data={"name": f"a {role}", "password": PASSWORD}).status_code == 200
    return browsers


def csrf(browser: Browser) -> str:
    return csrf_of(browser.get("/trace"))


def token(site: ConsoleSite, role: Role) -> dict[str, str]:
    _, text = asyncio.run(add_token(site.log, f"a {role}", NAME, role=role))
    site.users.apply(site.log.records("console_users")[-1])
    return {"authorization": f"Bearer {text}"}


def written(site: ConsoleSite) -> int:
    """Records on every topic: whoever is refused adds none."""
    return sum(len(site.log.records(name)) for name in TABLE)


def test_each_route_says_who_may_come_in_by_it(site: ConsoleSite) -> None:
    for way in closed(site):
        assert (calling if way.is_of_api else session_of) in way.guards, f"{way} is open to everybody"
        assert len(way.rights) <= 1, way
        if way.method not in READS and (way.method, way.path) not in OWN:
            assert way.rights, f"{way} changes something, and asks for no right"


def test_a_route_to_which_nobody_gave_a_guard_is_found() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/devices/{device}/forget", session_of, methods=["POST"])
    [way] = ways(app)
    assert (str(way), way.address) == ("POST /devices/{device}/forget", "/devices/1/forget")
    assert session_of not in way.guards
    assert not way.rights


def test_what_is_open_is_there_and_no_more_than_that(site: ConsoleSite) -> None:
    assert {(each.method, each.path) for each in ways(site.app.fastapi)} >= PUBLIC | OWN


def test_nobody_comes_in_without_a_session_or_a_token(site: ConsoleSite) -> None:
    before = written(site)
    for way in closed(site):
        assert way.ask(site.browser()) == (401 if way.is_of_api else 303), way
    assert written(site) == before


def test_nobody_comes_in_by_the_session_of_an_account_that_is_gone(site: ConsoleSite) -> None:
    browser = accounts(site)["administrator"]
    form = {"csrf": csrf(browser)}
    site.users.forget("a administrator")
    before = written(site)
    for way in closed(site):
        options = {} if way.method in READS or way.is_of_api else {"data": form}
        assert way.ask(browser, **options) == (401 if way.is_of_api else 303), way
    assert written(site) == before


def test_a_session_is_no_token_and_a_token_no_session(site: ConsoleSite) -> None:
    browser, headers = accounts(site)["administrator"], token(site, "administrator")
    for way in closed(site):
        if way.is_of_api:
            assert way.ask(browser) == 401, way
        else:
            assert way.ask(site.browser(), headers=headers) == 303, way


@pytest.mark.parametrize("sent", [{}, {"csrf": "guessed"}])
def test_a_form_without_the_token_of_its_session_does_nothing(site: ConsoleSite, sent: dict[str, str]) -> None:
    browsers = accounts(site)
    before = written(site)
    forms = [way for way in closed(site) if not way.is_of_api and way.method not in READS]
    assert forms
    for way in forms:
        assert way.ask(browsers["administrator"], data=sent) in (403, 422), way
        of_another = {"csrf": csrf(browsers["viewer"])}
        assert way.ask(browsers["administrator"], data=of_another) in (403, 422), way
    assert written(site) == before


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_its_rights_say_and_no_more(site: ConsoleSite, role: Role) -> None:
    browser, headers = accounts(site)[role], token(site, role)
    form = {"csrf": csrf(browser)}
    before = written(site)
    for way in closed(site):
        if way.may(role):
            continue
        options: dict[str, Any] = {"headers": headers} if way.is_of_api else {}
        if not way.is_of_api and way.method not in READS:
            options["data"] = form
        assert way.ask(browser, **options) == 403, way
    assert written(site) == before
    for way in closed(site):
        if way.may(role) and way.method in READS:
            options = {"headers": headers} if way.is_of_api else {}
            assert way.ask(browser, **options) not in (303, 401, 403, 500), way


def test_a_token_that_was_removed_or_is_of_an_earlier_time_opens_nothing(site: ConsoleSite) -> None:
    headers = token(site, "administrator")
    of_api = [way for way in closed(site) if way.is_of_api]
    site.users.forget_token(headers["authorization"].split("_")[1])
    for way in of_api:
        assert way.ask(site.browser(), headers=headers) in (401, 429), way
