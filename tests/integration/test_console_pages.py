"""The console in a real browser, over a ledger that is known.

Playwright keeps an event loop in this thread for as long as the browser runs: no test here runs one of its own.
"""

import re
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from console_site import NAME, PASSWORD, ConsoleSite, story
from ledger_story import event
from playwright.sync_api import Browser, BrowserContext, Page, expect

from attendance.listening import listen

PUNCH = event("1", 8).event_id
PAGES = [
    "/",
    "/devices",
    "/devices/D1",
    "/attention",
    "/attention/letters?reason=clock_skew&stage=stream",
    "/attention/letters/0:0",
    "/jobs",
    "/people",
    "/people/number?user=77&site=s",
    "/people/decided",
    "/trace?employee=EMP-1&day=2026-03-02",
    f"/right-time?event_id={PUNCH}",
    "/reconcile?site=s&day=2026-03-02",
    "/late",
    "/corrections",
    "/imports",
    "/pending",
    "/add-device",
    "/activity",
    "/accounts",
]
LOOKS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "arabic": {"locale": "ar"},
    "phone": {"viewport": {"width": 360, "height": 740}},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a console is served over a short story."""
    site = ConsoleSite(tmp_path_factory.mktemp("console"), story())
    server = uvicorn.Server(uvicorn.Config(site.app, log_config=None, ws="none"))
    with listen("CONSOLE", "127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    site.database.close()


def signed_in(context: BrowserContext, address: str, name: str = NAME, password: str = PASSWORD) -> Page:
    page = context.new_page()
    page.goto(address)
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(password)
    page.locator("button.main").click()
    return page


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_usable_by_everybody_in_every_look(browser: Browser, address: str, look: str) -> None:
    context = browser.new_context(**LOOKS[look])
    problems: list[str] = []
    context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    page = signed_in(context, address)
    for path in PAGES:
        answer = page.goto(f"{address}{path}")
        assert answer is not None
        assert answer.ok, path
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        if look != "phone":  # what axe looks at is the same there
            found = Axe().run(page).response["violations"]
            assert not [f"{each['id']}: {each['nodes'][0]['html']}" for each in found], path
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    assert page.locator("html").get_attribute("dir") == ("rtl" if look == "arabic" else "ltr")
    assert not problems
    context.close()


def test_somebody_finds_out_what_became_of_a_punch_without_a_mouse(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = signed_in(context, address)
    page.goto(f"{address}/trace")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("EMP-1")
    page.locator("input[name=day]").first.fill("2026-03-02")
    page.keyboard.press("Enter")
    expect(page.locator(".journey").first).to_contain_text("In ERPNext")
    context.close()


def test_somebody_goes_from_the_overview_to_the_device_that_is_silent(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = signed_in(context, address)
    page.get_by_role("link", name=re.compile("Devices: Silent")).click()
    page.get_by_role("link", name="D1").click()
    expect(page.locator("h1")).to_contain_text("Silent")
    expect(page.locator(".problem").first).to_contain_text("Is it switched on?")
    context.close()


def test_the_language_is_chosen_and_kept_and_whoever_signs_out_is_out(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = signed_in(context, address)
    page.locator("select[name=language]").select_option("ar")
    page.locator("footer form[action='/language'] button").click()
    page.goto(f"{address}/devices")
    expect(page.locator("h1")).to_have_text("الأجهزة")
    page.locator("footer form[action='/sign-out'] button").click()
    page.goto(f"{address}/devices")
    expect(page.locator("input[name=password]")).to_be_visible()
    context.close()


def test_an_administrator_makes_an_account_whose_password_lets_its_owner_in(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = signed_in(context, address)
    page.get_by_role("link", name="Accounts").click()
    form = page.locator("form[action='/accounts/add']")
    form.locator("input[name=name]").fill("omar")
    form.locator("select[name=role]").select_option("it")
    form.locator("button").click()
    said = page.get_by_role("status").inner_text()
    page.get_by_role("link", name="Activity").click()
    expect(page.locator(".groups li").first).to_contain_text("Made an account")
    context.close()
    context = browser.new_context()
    page = signed_in(context, address, "omar", said.rpartition(" ")[2])
    expect(page.locator("footer")).to_contain_text("Signed in as omar")
    expect(page.get_by_role("link", name="Accounts")).to_have_count(0)
    context.close()
