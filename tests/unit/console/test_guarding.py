"""What every answer says to a browser."""

import re
from pathlib import Path

import pytest
from console_site import Browser, ConsoleSite, story


@pytest.mark.parametrize("address", ["/sign-in", "/", "/nothing", "/static/console.css", "/static/nothing"])
def test_every_answer_says_what_a_browser_may_do_with_it(site: ConsoleSite, address: str) -> None:
    headers = site.browser().get(address, follow_redirects=False).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in headers["content-security-policy"]


def test_scripts_have_a_nonce_that_is_another_one_each_time(site: ConsoleSite) -> None:
    browser = site.browser()
    nonces = set()
    for _ in range(2):
        answer = browser.get("/sign-in")
        nonce = re.search(r"script-src 'nonce-([\w-]+)'", answer.headers["content-security-policy"])
        assert nonce is not None
        assert answer.text.count("<script") == answer.text.count(f'nonce="{nonce[1]}"') == 1
        nonces.add(nonce[1])
    assert len(nonces) == 2


def test_a_page_has_no_script_or_style_of_its_own(site: ConsoleSite) -> None:
    for address in ("/", "/devices", "/trace"):
        page = site.signed_in().get(address).text
        assert not re.search(r"<script[^>]*>[^<]", page)
        assert not re.search(r"<style|\sstyle=|\son\w+=", page)


def test_pages_are_kept_by_nobody_and_files_for_ever(site: ConsoleSite) -> None:
    browser = site.signed_in()
    page = browser.get("/")
    assert page.headers["cache-control"] == "no-store"
    style = re.search(r'href="(/static/console.css\?v=\w+)"', page.text)
    assert style is not None
    assert "immutable" in browser.get(style[1]).headers["cache-control"]
    assert browser.get("/static/nothing").headers["cache-control"] == "no-store"


def test_over_tls_cookies_and_pages_stay_there(tmp_path: Path) -> None:
    secure = ConsoleSite(tmp_path, story(), url="https://punches.example")
    browser = Browser(secure.app, "https://punches.example")
    answer = browser.post(
        "/sign-in", data={"name": "fatima", "password": "a long password of hers"}, follow_redirects=False
    )
    assert answer.headers["set-cookie"].startswith("__Host-punchstream=")
    assert "Secure" in answer.headers["set-cookie"]
    assert "strict-transport-security" in answer.headers
    secure.database.close()
