"""Accounts, roles and tokens: by page and by API, and what is written down of it."""

import re
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from console_site import NAME, ConsoleSite, csrf_of, text_of
from ledger_story import START
from passwords import QUICK, hash_quickly

from attendance.records.activity import Activity
from attendance.records.console_user import ConsoleUser
from console.words import ABOUT, ACTIVITY_STATES, ACTS, ROLES
from operations.activity import ACTS as KNOWN

EVERY = {"every": "true"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hash_quickly(monkeypatch)


def activities(site: ConsoleSite) -> list[Activity]:
    return [Activity.decode(each.value) for each in site.log.records("console_activity")]


def test_an_account_is_made_and_its_password_said_once(site: ConsoleSite) -> None:
    browser = site.signed_in()
    form = {"csrf": csrf_of(browser.get("/accounts")), "name": "omar", "role": "hr", "sites": ["s"]}
    said = text_of(browser.post("/accounts/add", data=form).text)
    password = re.findall(r"said once: (\S+)", said)[0]
    assert password not in browser.get("/accounts").text
    user = site.users.user("omar")
    assert user is not None
    assert (user.role, user.sites, user.changed_by) == ("hr", ("s",), NAME)
    other = site.browser()
    assert other.post("/sign-in", data={"name": "omar", "password": password}).url.path == "/"
    assert other.get("/accounts").status_code == 403
    assert 'href="/accounts"' not in other.get("/").text
    assert [(each.state, each.action, each.by, each.via) for each in activities(site)] == [
        ("begun", "account.add", NAME, "console"),
        ("done", "account.add", NAME, "console"),
    ]
    assert activities(site)[0].about == {"account": "omar", "role": "hr", "sites": "s"}


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("add", {"name": NAME, "role": "hr", **EVERY}, "cannot be used"),
        ("add", {"name": "omar", "role": "hr"}, "Tick the sites"),
        ("add", {"name": "omar", "role": "hr", "sites": "s", **EVERY}, "and not both"),
        ("add", {"name": "omar", "role": "administrator", "sites": "s"}, "An administrator sees every site."),
        ("change", {"name": NAME, "role": "administrator", "sites": "s"}, "An administrator sees every site."),
        ("tokens/add", {"name": "omar", "role": "administrator", "sites": "s"}, "An administrator sees every site."),
        ("add", {"name": "omar", "role": "owner", **EVERY}, "says something that cannot be"),
        ("change", {"name": NAME, "role": "viewer", **EVERY}, "is the last administrator"),
        ("change", {"name": "nobody", "role": "viewer", **EVERY}, "There is nobody called nobody"),
        ("disable", {"name": NAME}, "is the last administrator"),
        ("remove", {"name": NAME}, "is the last administrator"),
        ("tokens/remove", {"token_id": "none"}, "There is no such token"),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_changes_nothing(
    site: ConsoleSite, path: str, form: dict[str, str], said: str
) -> None:
    browser = site.signed_in()
    before = site.log.records("console_users")
    answer = browser.post(f"/accounts/{path}", data={"csrf": csrf_of(browser.get("/accounts")), **form})
    assert answer.status_code in (409, 422)
    assert said in text_of(answer.text)
    assert site.log.records("console_users") == before
    assert all(each.state != "done" for each in activities(site))


def test_another_role_counts_for_a_session_that_goes_on(site: ConsoleSite) -> None:
    site.put(ConsoleUser("omar", QUICK.hash("a password of his"), START, "root", role="administrator"))
    other = site.browser()
    other.post("/sign-in", data={"name": "omar", "password": "a password of his"})
    assert other.get("/accounts").status_code == 200
    browser = site.signed_in()
    form = {"csrf": csrf_of(browser.get("/accounts")), "name": "omar", "role": "viewer", **EVERY}
    assert browser.post("/accounts/change", data=form).status_code == 200
    assert other.get("/accounts").status_code == 403
    assert other.get("/").status_code == 200


def test_whoever_is_kept_out_is_out_and_let_in_again_signs_in_anew(site: ConsoleSite) -> None:
    site.put(ConsoleUser("omar", QUICK.hash("a password of his"), START, "root"))
    other = site.browser()
    other.post("/sign-in", data={"name": "omar", "password": "a password of his"})
    browser = site.signed_in()
    form = {"csrf": csrf_of(browser.get("/accounts")), "name": "omar"}
    browser.post("/accounts/disable", data=form)
    assert other.get("/").url.path == "/sign-in"
    browser.post("/accounts/enable", data=form)
    assert other.post("/sign-in", data={"name": "omar", "password": "a password of his"}).url.path == "/"
    browser.post("/accounts/remove", data=form)
    assert other.get("/").url.path == "/sign-in"
    assert site.users.user("omar") is None


def test_everybody_sees_their_own_activity_and_administrators_everybodys(site: ConsoleSite) -> None:
    site.put(ConsoleUser("omar", QUICK.hash("a password of his"), START, "root"))
    browser = site.signed_in()
    browser.post("/accounts/password", data={"csrf": csrf_of(browser.get("/accounts")), "name": "omar"})
    page = browser.get("/activity").text
    assert ACTS["account.password"] in page
    assert page.count("<li>") - browser.get("/activity?q=nothing like it").text.count("<li>") == 1
    site.put(ConsoleUser("omar", QUICK.hash("a password of his"), START, "root"))
    other = site.browser()
    other.post("/sign-in", data={"name": "omar", "password": "a password of his"})
    assert ACTS["account.password"] not in other.get("/activity").text


def test_what_was_begun_and_has_no_end_is_said_to_be_broken_off(site: ConsoleSite) -> None:
    begun = Activity("1", START, "omar", "console", "account.add", "begun", {"account": "<b>lina</b>"})
    site.log.add("console_activity", begun.key, begun.encode())
    page = site.signed_in().get("/activity").text
    assert ACTIVITY_STATES["begun"] in page
    assert "&lt;b&gt;lina" in page


def test_everything_that_is_done_has_words() -> None:
    assert set(ACTS) == set(KNOWN)
    assert {"account", "role", "sites", "token", "disabled"} <= set(ABOUT)
    assert set(ROLES) == {"viewer", "hr", "it", "administrator"}


def token(site: ConsoleSite, role: str = "administrator") -> dict[str, str]:
    browser = site.signed_in()
    form = {"csrf": csrf_of(browser.get("/accounts")), "name": "payroll", "role": role, "days": "2", **EVERY}
    said = text_of(browser.post("/accounts/tokens/add", data=form).text)
    (text,) = re.findall(r"said once: (\S+)", said)
    return {"authorization": f"Bearer {text}"}


def test_a_token_may_do_what_its_role_may_until_its_time_is_over_or_it_is_removed(site: ConsoleSite) -> None:
    headers = token(site)
    program = site.browser()
    assert [each["name"] for each in program.get("/api/v1/accounts", headers=headers).json()] == [NAME]
    assert program.get("/api/v1/accounts", headers=token(site, "it")).status_code == 403
    (first, _second) = program.get("/api/v1/tokens", headers=headers).json()
    assert headers["authorization"].split("_")[1] == first["id"]
    site.clock.at += timedelta(days=3)
    assert program.get("/api/v1/accounts", headers=headers).status_code == 401
    site.clock.at -= timedelta(days=3)
    assert program.get("/api/v1/accounts", headers=headers).status_code == 200
    browser = site.signed_in()
    form = {"csrf": csrf_of(browser.get("/accounts")), "token_id": first["id"]}
    browser.post("/accounts/tokens/remove", data=form)
    answer = program.get("/api/v1/accounts", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_topic_has_no_token(site: ConsoleSite) -> None:
    text = token(site)["authorization"].split()[1]
    assert all(text.encode() not in (each.value or b"") for each in site.log.records("console_users"))
    assert all(text.encode() not in (each.value or b"") for each in site.log.records("console_activity"))


def test_the_api_makes_changes_and_removes_accounts_as_the_pages_do(site: ConsoleSite) -> None:
    program, headers = site.browser(), token(site)
    made = program.post("/api/v1/accounts", json={"name": "omar", "role": "it", "sites": ["s"]}, headers=headers)
    assert made.status_code == 201
    assert PasswordHasher().verify(site.users.user("omar").password, made.json()["password"])  # type: ignore[union-attr]
    changed = program.put("/api/v1/accounts/omar", json={"role": "hr", "disabled": True}, headers=headers).json()
    assert (changed["role"], changed["sites"], changed["disabled"], changed["changed_by"]) == (
        "hr",
        None,
        True,
        "payroll",
    )
    assert program.delete("/api/v1/accounts/omar", headers=headers).status_code == 204
    assert program.delete("/api/v1/accounts/omar", headers=headers).status_code == 404
    assert {each.via for each in activities(site)[2:]} == {"api"}
    last = program.delete(f"/api/v1/accounts/{NAME}", headers=headers)
    assert (last.status_code, "last administrator" in last.json()["error"]) == (409, True)


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer x", "Bearer punchstream_", "Basic eDp4", "Bearer punchstream_é"]
)
def test_the_api_answers_nobody_without_a_token(site: ConsoleSite, given: str) -> None:
    token(site)
    headers = {"authorization": given.encode("latin-1")} if given else {}
    answer = site.browser().get("/api/v1/accounts", headers=headers)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


def test_a_session_is_no_token(site: ConsoleSite) -> None:
    assert site.signed_in().get("/api/v1/accounts").status_code == 401
