"""Debian's Chromium without a window, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

_ARGUMENTS: Final = (
    # Tests may be run by root, whom the sandbox refuses; they load pages of ours only.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # It would look for hosts of its vendor.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def unavailable_reason() -> str | None:
    """One line that says what is missing on this machine, or None."""
    return None if shutil.which("chromium") else "a browser needs `chromium`, of Debian's package chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser while the context lasts. Each test makes a context of its own in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*_ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()
