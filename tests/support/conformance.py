"""Drives an adapter by the simulated terminal of its name, with nothing but their two contracts between them."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from attendance.errors import DeviceRefused, InvalidRecord, Reason
from attendance.fleet import Device
from producers.devices import check_entry, create_pull_adapter, create_push_adapter
from producers.devices.contract import (
    Answer,
    Cursor,
    Fetch,
    Head,
    Page,
    Parsed,
    PullAdapter,
    PushRequest,
    Rejected,
    Tools,
)
from sandbox.terminals import simulator
from sandbox.terminals.base import HttpAnswer, HttpRequest, Punch

ZONE = "America/New_York"
SERIAL = "T1000"
TOKEN = "a-token-of-the-terminal"
SITE = "HQ"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
WALL_CLOCK = datetime(2026, 11, 20, 7, 0, 0)  # noqa: DTZ001 - the terminal's own clock at NOW


def punches(count: int, *, until: datetime = WALL_CLOCK, first_number: int = 1) -> list[Punch]:
    """So many punches, one a minute, of as many people, with every direction; the newest a minute before `until`."""
    return [
        Punch(
            user=f"{number % 997:06d}",
            at=until - timedelta(minutes=count - index),
            direction=("IN", "OUT", "")[number % 3],  # type: ignore[arg-type]
            number=number,
        )
        for index, number in enumerate(range(first_number, first_number + count))
    ]


def device_of(entry: Mapping[str, Any]) -> Device:
    """The registry entry of a simulated terminal."""
    return Device.model_validate({"device_id": SERIAL, "site": SITE, "timezone": ZONE, **entry})


class Pushed:
    """A push adapter and its terminal."""

    def __init__(self, place: str, name: str) -> None:
        self.terminal = simulator(place)(serial=SERIAL, token=TOKEN, zone=ZONE)
        self.adapter = create_push_adapter(name, ())
        self.device = device_of(self.terminal.registry_entry())
        check_entry("push", self.device.model_copy(update={"adapter": name}))

    def head(self, request: HttpRequest) -> Head:
        """What the push stage would hand to the adapter before the body."""
        url = urlsplit(request.path)
        for route in self.adapter.routes:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
            if route.method == request.method and (match := re.fullmatch(pattern, url.path)):
                headers = {name.lower(): value for name, value in request.headers.items()}
                query = dict(parse_qsl(url.query, keep_blank_values=True))
                return Head(request.method, route.path, match.groupdict(), query, headers)
        raise AssertionError(f"no route of {self.adapter.name} is {request.method} {url.path}")

    def parse(self, request: HttpRequest) -> Parsed:
        """What the adapter makes of a request, and the stage of one that cannot be read at all."""
        head = self.head(request)
        try:
            return self.adapter.parse(PushRequest(head, request.body, NOW), {SERIAL: self.device})
        except InvalidRecord as error:
            if error.reason is not Reason.UNREADABLE_BODY:
                raise
            letter = Rejected(0, error.reason, error.message, b"the body, without what can be a photograph")
            return Parsed(SERIAL, self.adapter.refuse(head, error.reason, 5), rejected=[letter])

    def parse_all(self, requests: Sequence[HttpRequest]) -> list[Parsed]:
        """What the adapter makes of requests, each of which it answers so that the terminal goes on."""
        return [self.parse(request) for request in requests]

    def accepts(self, answer: Answer, count: int) -> bool:
        """Whether the terminal forgets so many punches on this answer."""
        headers = {name.lower(): value for name, value in answer.headers.items()}
        accepted: bool = self.terminal.accepts(HttpAnswer(answer.status, headers, answer.body), count)
        return accepted

    def refusal(self, request: HttpRequest, reason: Reason) -> Answer:
        """What the terminal hears when nothing was stored."""
        return self.adapter.refuse(self.head(request), reason, 5)


@dataclass(slots=True)
class Pulled:
    """A pull adapter and the device that it asks, while that serves."""

    terminal: Any
    adapter: PullAdapter
    device: Device

    async def fetch(self, seen: list[Page], cursor: Cursor | None = None, since: datetime | None = None) -> None:
        """Add the pages of a fetch to those seen, one by one, so that they are there when it fails."""
        async for page in self.adapter.fetch(Fetch(self.device, {SERIAL: self.device}, cursor, since, NOW)):
            seen.append(page)  # noqa: PERF401 - a comprehension would hand over none when a later page fails

    async def pages(self, cursor: Cursor | None = None, since: datetime | None = None) -> list[Page]:
        """Every page of a fetch."""
        seen: list[Page] = []
        await self.fetch(seen, cursor, since)
        return seen


@asynccontextmanager
async def pulled(place: str, name: str, memory: Sequence[Punch]) -> AsyncIterator[Pulled]:
    """A pull adapter and a serving device with these punches in its memory."""
    terminal = simulator(place)(serial=SERIAL, zone=ZONE, password="right")
    terminal.memory.extend(memory)
    async with terminal.serving(), httpx.AsyncClient(trust_env=False, timeout=10) as http:
        secrets = terminal.credentials()
        credentials = {secret: secret.upper() for secret in secrets}
        device = device_of({"credentials": credentials, **terminal.registry_entry(), "adapter": name})
        check_entry("pull", device)

        def secret(_device: Device, name: str) -> str:
            try:
                return secrets[name]
            except KeyError:
                raise DeviceRefused(f"no credential {name}") from None

        yield Pulled(terminal, create_pull_adapter(name, Tools(http, secret, ())), device)


def run(work: Any) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(work)
