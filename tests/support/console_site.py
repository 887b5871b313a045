"""A console over a ledger that has read a story, as a browser's requests reach it."""

import asyncio
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Cookies, Response
from ledger_story import START, START_MS, Story, event, kept_ledger
from memory_log import MemoryLog, StoredRecord
from passwords import QUICK
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from attendance.errors import Reason
from attendance.fleet_topic import FleetTopicEntries
from attendance.records.console_user import ConsoleUser, Role
from attendance.registry import Registry
from attendance.topics import Name
from console.app import create_app
from console.attempts import Attempts
from console.context import Context
from console.identity.settings import SignInSettings
from console.identity.ways import Ways
from console.sessions import Sessions
from console.settings import ConsoleSettings
from ledger.database import Database
from operations.activity import Activities
from operations.console_users import ConsoleUsers

NAME: Final = "fatima"
PASSWORD: Final = "a long password of hers"
ADDRESS: Final = "http://127.0.0.1:8180"
OURS: Final = {"sec-fetch-site": "same-origin"}


class Clock:
    """What time it is for the console."""

    def __init__(self) -> None:
        self.at = START + timedelta(hours=12)

    def __call__(self) -> datetime:
        return self.at


def story() -> Story:
    """Two people on two devices: one punch of each outcome that a page shows."""
    written = Story()
    written.deliver(written.checkin(written.raw(event("1", 8)), "EMP-1"), "CHK-1")
    written.drop(written.raw(event("1", 8, "D2")), event("1", 8).event_id, Reason.REPEAT)
    written.wait(written.raw(event("77", 9)))
    written.fail(written.raw(event("2", 10)), Reason.CLOCK_SKEW)
    written.checkin(written.raw(event("2", 11)), "EMP-2")
    written.report("D1", 3, firmware="<script>alert(1)</script>\x1b[2J\u202e")
    return written


class Served:
    """The application of one console. It is built once for all of them, and gets the context with each request."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.fastapi = _application(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mounted = [route.app for route in self.fastapi.routes if isinstance(route, Mount)]
        for each in (self.fastapi, *mounted):
            if isinstance(each, FastAPI):
                each.state.context = self.context
        await self.fastapi(scope, receive, send)


_APPLICATIONS: Final[dict[str | None, FastAPI]] = {}
"""By the address of their consoles, which is all that an application knows itself."""


def _application(context: Context) -> FastAPI:
    if context.settings.url not in _APPLICATIONS:
        _APPLICATIONS[context.settings.url] = create_app(context)
    return _APPLICATIONS[context.settings.url]


class Browser:
    """Somebody's browser: it keeps cookies, and follows where it is sent unless a request says otherwise."""

    def __init__(
        self, app: Served, address: str = ADDRESS, headers: dict[str, str] = OURS, client: str = "127.0.0.1"
    ) -> None:
        transport = ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
        self._client = AsyncClient(transport=transport, base_url=address, headers=headers, follow_redirects=True)

    @property
    def cookies(self) -> Cookies:
        return self._client.cookies

    def get(self, address: str, **options: Any) -> Response:
        return asyncio.run(self._client.get(address, **options))

    def post(self, address: str, **options: Any) -> Response:
        return asyncio.run(self._client.post(address, **options))

    def put(self, address: str, **options: Any) -> Response:
        return asyncio.run(self._client.put(address, **options))

    def patch(self, address: str, **options: Any) -> Response:
        return asyncio.run(self._client.patch(address, **options))

    def delete(self, address: str, **options: Any) -> Response:
        return asyncio.run(self._client.delete(address, **options))


class FollowedLog(MemoryLog):
    """A log whose topics of activity and of the fleet a console follows."""

    def __init__(self) -> None:
        super().__init__()
        self.activities = Activities()
        self.fleet: FleetTopicEntries | None = None

    def add(self, topic: Name, *record: Any, **place: Any) -> StoredRecord:
        added = super().add(topic, *record, **place)
        if topic == "console_activity":
            self.activities.learn(added)
        if topic == "fleet" and self.fleet is not None:
            self.fleet.learn(added)
        return added


class ConsoleSite:
    """A console, its clock and who may use it."""

    def __init__(
        self, directory: Path, written: Story, sign_in: dict[str, object] | None = None, **settings: object
    ) -> None:
        url = f"sqlite:///{directory}/ledger.sqlite"
        kept_ledger(url, written)
        device = {"site": "s", "timezone": "Asia/Riyadh", "token_sha256": "0" * 64}
        fleet = [{"device_id": name, **device} for name in ("D1", "D2", "D3")]
        file = directory / "devices.yaml"
        file.write_text(yaml.safe_dump(fleet))
        self.clock = Clock()
        self.log = FollowedLog()
        self.users = ConsoleUsers(QUICK)
        self.put(ConsoleUser(NAME, QUICK.hash(PASSWORD), START, "root", role="administrator"))
        loaded = ConsoleSettings(_env_file=None, **settings)  # type: ignore[call-arg]
        self.database = Database(url)
        sessions = Sessions(loaded.idle, loaded.longest)
        self.registry = Registry(file)
        self.log.fleet = self.registry.topic
        self.registry.topic.caught_up.set()
        self.context = Context(
            loaded,
            self.database,
            self.registry,
            self.users,
            sessions,
            self.log,
            self.log.activities,
            ways=Ways(SignInSettings(_env_file=None, **sign_in or {}), loaded.url),  # type: ignore[call-arg]
            attempts=Attempts(),
            erpnext_url="https://erp.example",
            clock=self.clock,
        )
        self.app = Served(self.context)

    def put(self, user: ConsoleUser) -> None:
        """Change who may use it, as the topic would."""
        self.users.apply(self.log.add("console_users", user.key, user.encode(), timestamp=START_MS))

    def browser(self) -> Browser:
        """Somebody's browser, not signed in."""
        return Browser(self.app)

    def signed_in(self) -> Browser:
        """The browser of somebody who is signed in."""
        browser = self.browser()
        enter(browser, NAME)
        return browser


def sign_in(site: ConsoleSite, role: Role, sites: tuple[str, ...] | None = None) -> Browser:
    """The browser of somebody with a role, who is called as their role is.

    Args:
        site: The console.
        role: What they may do.
        sites: The sites that they see; None for every one.
    """
    site.put(ConsoleUser(role, QUICK.hash(PASSWORD), START, "root", role=role, sites=sites))
    browser = site.browser()
    enter(browser, role)
    return browser


def enter(browser: Browser, name: str) -> None:
    """Sign in, without the overview to which that leads: most tests look at another page."""
    answer = browser.post("/sign-in", data={"name": name, "password": PASSWORD}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text


def csrf_of(page: Response) -> str:
    """The token of the session that the forms of a page have."""
    return re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]


def text_of(page: str) -> str:
    """What a page says, without its tags, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())
