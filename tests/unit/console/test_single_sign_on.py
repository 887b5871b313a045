"""Who is let in whom a proxy or an OpenID provider knows, as whom, and when that ends."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from console_site import NAME, PASSWORD, Browser, ConsoleSite, story, text_of
from ledger_story import START
from openid_provider import CLIENT, EMAIL, SECRET, OpenIdServer
from passwords import QUICK, hash_quickly
from structlog.testing import capture_logs

from attendance.records.console_user import ConsoleUser
from console.identity.groups import Grant, granted, group_roles

Make = Callable[..., ConsoleSite]
PROXY = {"trusted_proxies": "10.0.0.0/24", "proxy_header": "Remote-User", "proxy_groups_header": "Remote-Groups"}
ROLES = "hr-north=hr:north|east;hr-s=hr:s;cn=it,ou=groups=it;everybody=viewer"
URL = "http://127.0.0.1:8180"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ConsoleSite] = []

    def console(sign_in: dict[str, object], **settings: object) -> ConsoleSite:
        site = ConsoleSite(tmp_path, story(), sign_in, **settings)
        made.append(site)
        return site

    yield console
    for site in made:
        site.database.close()


def by_proxy(site: ConsoleSite, client: str = "10.0.0.7", **headers: str) -> Browser:
    sent = {"sec-fetch-site": "same-origin"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Browser(site.app, headers=sent, client=client)


def who(browser: Browser) -> str:
    page = text_of(browser.get("/").text)
    return page.split("Signed in as ")[1].split()[0] if "Signed in as " in page else ""


def grants(site: ConsoleSite) -> list[Grant | None]:
    return [session.grant for session in site.context.sessions._sessions.values()]


def test_whoever_the_proxy_signs_in_is_in_with_the_role_of_their_account(make: Make) -> None:
    browser = by_proxy(make(PROXY), remote_user=NAME)
    assert who(browser) == NAME
    assert browser.get("/accounts").status_code == 200


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("10.0.1.7", {"remote_user": NAME}),
        ("127.0.0.1", {"remote_user": NAME}),
        ("no address", {"remote_user": NAME}),
        ("10.0.0.7", {"remote_user": ""}),
        ("10.0.0.7", {"remote_user": f"{NAME}\x7f"}),
        ("10.0.0.7", {"x_remote_user": NAME}),
    ],
)
def test_nobody_else_is_believed_who_somebody_is(make: Make, client: str, headers: dict[str, str]) -> None:
    assert who(by_proxy(make(PROXY), client, **headers)) == ""


def test_of_two_headers_none_is_believed(make: Make) -> None:
    site = make(PROXY)
    headers = [("remote-user", NAME), ("remote-user", "omar")]
    answer = by_proxy(site).get("/sign-in", headers=headers, follow_redirects=False)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


def test_without_the_setting_no_header_is_believed(make: Make) -> None:
    assert who(by_proxy(make({"trusted_proxies": "10.0.0.0/24"}), remote_user=NAME)) == ""


def test_a_session_of_a_proxy_is_of_whom_it_names_with_each_request(make: Make) -> None:
    site = make(PROXY)
    site.put(ConsoleUser("omar", QUICK.hash(PASSWORD), START, "root"))
    browser = by_proxy(site, remote_user=NAME)
    assert who(browser) == NAME
    cookie = {"cookie": f"punchstream={browser.cookies['punchstream']}"}
    for other in (
        by_proxy(site, remote_user="omar", **cookie),
        by_proxy(site, **cookie),
        by_proxy(site, "10.0.1.7", remote_user=NAME, **cookie),
    ):
        assert other.get("/", follow_redirects=False).status_code == 303
    assert by_proxy(site, remote_user=NAME, **cookie).get("/", follow_redirects=False).status_code == 200


def test_groups_give_a_role_to_whoever_has_no_account_and_sites(make: Make) -> None:
    site = make(PROXY | {"group_roles": ROLES})
    browser = by_proxy(site, remote_user="lina", remote_groups="everybody, hr-s,unknown")
    assert who(browser) == "lina"
    assert browser.get("/accounts").status_code == 403
    assert grants(site) == [Grant("hr", ("s",))]


def test_whoever_has_neither_account_nor_group_is_told_so_and_not_sent_in_circles(make: Make) -> None:
    browser = by_proxy(make(PROXY | {"group_roles": ROLES}), remote_user="<b>eve", remote_groups="strangers")
    answer = browser.get("/")
    assert answer.status_code == 403
    assert "may not use the console" in answer.text
    assert "<b>eve" not in answer.text
    assert "punchstream" not in browser.cookies


def test_other_groups_end_a_session_that_they_gave(make: Make) -> None:
    site = make(PROXY | {"group_roles": ROLES})
    browser = by_proxy(site, remote_user="lina", remote_groups="hr-s")
    assert browser.get("/").status_code == 200
    assert browser.get("/", headers={"remote-groups": "everybody"}, follow_redirects=False).status_code == 303
    assert browser.get("/", headers={"remote-groups": "hr-s"}, follow_redirects=False).status_code == 200


def test_an_account_that_is_made_or_kept_out_counts_before_groups(make: Make) -> None:
    site = make(PROXY | {"group_roles": "everybody=administrator"})
    browser = by_proxy(site, remote_user="lina", remote_groups="everybody")
    assert browser.get("/accounts").status_code == 200
    site.put(ConsoleUser("lina", QUICK.hash(PASSWORD), START, "root"))
    assert browser.get("/accounts", follow_redirects=False).status_code == 303
    assert browser.get("/accounts").status_code == 403
    site.put(ConsoleUser("lina", QUICK.hash(PASSWORD), START, "root", disabled=True, epoch=1))
    assert "may not use the console" in browser.get("/").text


def test_whoever_signs_out_behind_a_proxy_is_not_signed_in_at_once(make: Make) -> None:
    browser = by_proxy(make(PROXY), remote_user=NAME)
    token = browser.get("/").text.split('name="csrf" value="')[1].split('"')[0]
    answer = browser.post("/sign-out", data={"csrf": token})
    assert "You are signed out" in answer.text
    assert "punchstream" not in browser.cookies


def test_whoever_guesses_behind_a_proxy_keeps_nobody_else_out(make: Make) -> None:
    site = make({"trusted_proxies": "10.0.0.0/24"})
    form = {"name": NAME, "password": PASSWORD}
    for number in range(6):
        guess = {"name": f"name-{number}", "password": "wrong"}
        by_proxy(site, x_forwarded_for="198.51.100.9, 192.0.2.1").post("/sign-in", data=guess)
    assert by_proxy(site, x_forwarded_for="192.0.2.1").post("/sign-in", data=form).status_code == 429
    assert by_proxy(site, x_forwarded_for="192.0.2.2").post("/sign-in", data=form).status_code == 200


def test_passwords_can_be_switched_off(make: Make) -> None:
    site = make(PROXY | {"passwords": False})
    assert 'type="password"' not in site.browser().get("/sign-in").text
    answer = site.browser().post("/sign-in", data={"name": NAME, "password": PASSWORD})
    assert answer.status_code == 403
    assert "punchstream" not in answer.cookies


def of_provider(server: OpenIdServer, **settings: object) -> dict[str, object]:
    return {"oidc_issuer": server.url, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET} | settings


def through(server: OpenIdServer, browser: Browser, back: str = "/", **changes: str) -> str:
    """Sign in at the provider, and return where the browser is then."""
    sent = browser.get("/sign-in/openid", params={"back": back}, follow_redirects=False)
    assert sent.status_code == 303
    there = server.sign_in(sent.headers["location"], **changes)
    return browser.get(there, headers={"sec-fetch-site": "cross-site"}).url.raw_path.decode()


def test_whoever_the_provider_knows_is_in_with_the_role_of_their_account(make: Make, server: OpenIdServer) -> None:
    site = make(of_provider(server), url=URL)
    site.put(ConsoleUser(EMAIL, QUICK.hash(PASSWORD), START, "root", role="administrator"))
    browser = site.browser()
    assert "/sign-in/openid" in browser.get("/sign-in").text
    assert through(server, browser, "/devices?q=d3") == "/devices?q=d3"
    assert who(browser) == EMAIL
    assert browser.get("/accounts").status_code == 200
    assert "punchstream-openid" not in browser.cookies


def test_groups_of_the_provider_give_a_role_until_the_session_ends(make: Make, server: OpenIdServer) -> None:
    server.claims["groups"] = ["hr-north", "hr-s"]
    site = make(of_provider(server, group_roles=ROLES, passwords=False), url=URL)
    assert through(server, browser := site.browser()) == "/"
    assert who(browser) == EMAIL
    assert grants(site) == [Grant("hr", ("north", "east", "s"))]
    site.clock.at += timedelta(hours=13)
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_whoever_the_provider_knows_and_nobody_here_is_not_let_in(make: Make, server: OpenIdServer) -> None:
    site = make(of_provider(server, group_roles=ROLES), url=URL)
    assert through(server, browser := site.browser()).startswith("/sign-in")
    assert "punchstream" not in browser.cookies


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_nobody_is_sent_to_another_site_after_signing_in(make: Make, server: OpenIdServer, back: str) -> None:
    server.claims["groups"] = "everybody"
    assert through(server, make(of_provider(server, group_roles=ROLES), url=URL).browser(), back) == "/"


def test_what_was_not_asked_for_lets_nobody_in_and_shows_no_more_than_that(make: Make, server: OpenIdServer) -> None:
    server.claims["groups"] = "everybody"
    site = make(of_provider(server, group_roles=ROLES), url=URL)
    victim, attacker = site.browser(), site.browser()
    theirs = server.sign_in(attacker.get("/sign-in/openid", follow_redirects=False).headers["location"])
    for address in (theirs, "/sign-in/openid/return", "/sign-in/openid/return?error=<b>&state=x"):
        answer = victim.get(address)
        assert answer.status_code == 401
        assert "punchstream" not in victim.cookies
        assert "<b>" not in answer.text
    assert "/token" not in server.asked


def test_neither_page_nor_log_has_code_or_secret(make: Make, server: OpenIdServer) -> None:
    site = make(of_provider(server, oidc_client_secret="wrong-secret"), url=URL)
    with capture_logs() as logged:
        through(server, site.browser(), code="a-code-of-theirs")
    assert [each["event"] for each in logged] == ["A sign-in by OpenID was refused."]
    assert "wrong-secret" not in str(logged)
    assert "a-code-of-theirs" not in str(logged)


def test_a_provider_that_does_not_answer_is_said_and_passwords_still_work(make: Make) -> None:
    site = make({"oidc_issuer": "http://127.0.0.1:1", "oidc_client_id": CLIENT}, url=URL)
    answer = site.browser().get("/sign-in/openid")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert who(site.signed_in()) == NAME


@pytest.mark.parametrize("path", ["/sign-in/openid", "/sign-in/openid/return"])
def test_without_a_provider_there_is_no_such_way(site: ConsoleSite, path: str) -> None:
    assert site.browser().get(path).status_code == 404
    assert "/sign-in/openid" not in site.browser().get("/sign-in").text


OLD = PasswordHasher(time_cost=1, memory_cost=16, parallelism=2)


def test_a_hash_with_old_parameters_is_made_anew_and_the_session_goes_on(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_quickly(monkeypatch)
    site.put(ConsoleUser(NAME, OLD.hash(PASSWORD), START, "root", role="administrator"))
    browser = site.signed_in()
    last = site.log.records("console_users")[-1]
    made = ConsoleUser.decode(last.key, last.value)
    assert not QUICK.check_needs_rehash(made.password)
    assert QUICK.verify(made.password, PASSWORD)
    assert (made.epoch, made.role, made.changed_by) == (0, "administrator", "root")
    site.put(made)
    assert who(browser) == NAME
    written = len(site.log.records("console_users"))
    site.signed_in()
    assert len(site.log.records("console_users")) == written


def test_a_password_that_was_changed_meanwhile_is_not_brought_back(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_quickly(monkeypatch)
    site.put(ConsoleUser(NAME, OLD.hash(PASSWORD), START, "root"))
    other = ConsoleUser(NAME, QUICK.hash("another long password"), START, "root", epoch=1)
    site.log.add("console_users", other.key, other.encode())
    site.signed_in()
    assert site.log.records("console_users")[-1].value == other.encode()


def test_the_first_group_of_the_setting_decides_and_sites_of_its_role_are_added() -> None:
    roles = group_roles(ROLES)
    assert granted(roles, ["everybody", "cn=it,ou=groups"]) == Grant("it")
    assert granted(roles, ["hr-s", "hr-north", "cn=it,ou=groups"]) == Grant("hr", ("north", "east", "s"))
    assert granted(group_roles("a=hr:s;b=hr"), ["a", "b"]) == Grant("hr")
    assert granted(roles, ["unknown"]) is None
    assert granted((), ["everybody"]) is None
