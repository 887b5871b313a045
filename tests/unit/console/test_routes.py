"""Who may come in by which route: every one that the application has, asked by everybody who may not."""

import asyncio
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, get_args

import pytest
from console_site import NAME, PASSWORD, QUICK, Browser, ConsoleSite, csrf_of
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from ledger_story import START
from starlette.routing import Mount, Route

from attendance.records.console_user import ConsoleUser, Role
from attendance.topics import TABLE
from console.acting import session_of
from console.api.app import PATH
from console.api.calling import calling
from console.rights import RIGHTS, Right
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
READS: Final = {"GET", "HEAD"}
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True)
class Way:
    """A method of a route, what stands before it, and the right that it asks for."""

    method: str
    path: str
    guards: frozenset[Any] = frozenset()
    rights: frozenset[Right] = field(default=frozenset())

    @property
    def is_of_api(self) -> bool:
        return self.path.startswith(PATH)

    @property
    def address(self) -> str:
        return re.sub(r"\{[^}]+\}", "1", self.path)

    def may(self, role: Role) -> bool:
        return self.rights <= RIGHTS[role]

    def ask(self, browser: Browser, **options: Any) -> int:
        call = getattr(browser, self.method.lower())
        return int(call(self.address, follow_redirects=False, **options).status_code)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def ways(app: FastAPI, under: str = "") -> Iterator[Way]:
    for found in iter_route_contexts(app.routes):
        route = found.original_route
        if isinstance(route, Mount):
            if isinstance(route.app, FastAPI):
                yield from ways(route.app, under + route.path)
        elif isinstance(route, APIRoute):
            guards = frozenset(_guards(found.dependant))
            rights = frozenset(right for each in guards if (right := _right(each)) is not None)
            for method in sorted(found.methods or ()):
                yield Way(method, f"{under}{found.path}", guards, rights)
        else:
            assert isinstance(route, Route), f"of {route} nobody knows who may come in"
            yield Way("GET", under + route.path)


def _guards(of: Dependant) -> Iterator[Any]:
    for each in of.dependencies:
        yield each.call
        yield from _guards(each)


def _right(guard: Any) -> Right | None:
    """The right that `acting`, `reading_with` or `calling_with` was given."""
    found = inspect.getclosurevars(guard).nonlocals.get("right") if inspect.isfunction(guard) else None
    return found if isinstance(found, Right) else None


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
