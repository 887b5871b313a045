"""A fleet with a simulated terminal of every protocol, what each has in memory, and what ERPNext must hold of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, cast

import httpx

from attendance.times import from_wall_clock, to_wall_clock
from sandbox.terminals import FILE_WRITERS, PULL_TERMINALS, PUSH_TERMINALS, simulator
from sandbox.terminals.base import FileWriter, HttpAnswer, HttpRequest, PullTerminal, Punch, PushTerminal

SITE: Final = "vendors"
ZONE: Final = "Asia/Kolkata"
PEOPLE: Final = 5  # on each terminal
PUNCHES: Final = 40  # of each terminal
UPLOAD: Final = 16  # punches in one request
PAUSE: Final = 0.5  # seconds, before a terminal that was not answered sends again
ANSWER_SECONDS: Final = 30.0  # seconds that a terminal waits for an answer

Way = Literal["push", "pull", "file"]


@dataclass(frozen=True, slots=True)
class Member:
    """One terminal of the fleet. `name` is that of its simulator, `punches` what it has in memory, oldest first."""

    way: Way
    name: str
    device_id: str
    terminal: PushTerminal | PullTerminal | FileWriter
    punches: Sequence[Punch]


@dataclass(slots=True)
class Sent:
    """What the terminals that push believe: punches for which they were answered, and requests sent again."""

    acknowledged: int = 0
    requests: int = 0
    retries: int = 0


class VendorFleet:
    """One terminal for each simulator there is.

    Every punch is on a second of its own and further from the person's last than any window, so each must be stored
    once, whatever is sent again.
    """

    def __init__(self, seed: int, now: datetime) -> None:
        """`now` is UTC; the punches are of the day before it."""
        self._employees: dict[str, str] = {}
        self.members: list[Member] = []
        random = Random(seed)  # noqa: S311 - simulated punches, not secrets
        places = [("push", PUSH_TERMINALS), ("pull", PULL_TERMINALS), ("file", FILE_WRITERS)]
        for way, table in places:
            for name, place in sorted(table.items()):
                self._add(cast("Way", way), name, place, random, now)

    def _add(self, way: Way, name: str, place: str, random: Random, now: datetime) -> None:
        number = len(self.members) + 1
        device_id = f"{way}-{name.replace(':', '-').replace('_', '-')}"
        create = simulator(place)
        terminal: PushTerminal | PullTerminal | FileWriter
        match way:
            case "push":
                terminal = create(serial=device_id, token=f"{random.getrandbits(128):032x}", zone=ZONE)
            case "pull":
                terminal = create(serial=device_id, zone=ZONE, password=f"{random.getrandbits(32):08x}")
            case "file":
                terminal = create()
        codes = [f"{number:02}{person:04}" for person in range(1, PEOPLE + 1)]
        self._employees |= {code: f"HR-EMP-V{code}" for code in codes}
        begins = to_wall_clock(now, ZONE) - timedelta(days=1)
        punches = [
            Punch(
                user=codes[index % PEOPLE],
                at=begins + timedelta(minutes=20 * index, seconds=random.randrange(60)),
                direction="IN" if index // PEOPLE % 2 == 0 else "OUT",
                number=index + 1,
            )
            for index in range(PUNCHES)
        ]
        if way == "pull":
            cast("PullTerminal", terminal).memory.extend(punches)
        self.members.append(Member(way, name, device_id, terminal, punches))

    def of(self, way: Way) -> Iterator[Member]:
        """The terminals of one way in."""
        return (member for member in self.members if member.way == way)

    @property
    def punches(self) -> int:
        """Of all terminals."""
        return sum(len(member.punches) for member in self.members)

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether a check-in is of one of these terminals."""
        return any(row.get("device_id") == member.device_id for member in self.members)

    def registry(self) -> list[dict[str, Any]]:
        """The entries of the fleet file. Those that are asked need to serve: their ports are in it."""
        entries = []
        for member in self.members:
            entry = {"device_id": member.device_id, "site": SITE, "timezone": ZONE, **member.terminal.registry_entry()}
            if member.way == "pull":
                names = cast("PullTerminal", member.terminal).credentials()
                entry["credentials"] = {name: _variable(member, name) for name in names}
                entry.setdefault("interval", 2)
            entries.append(entry)
        return entries

    def environment(self) -> dict[str, str]:
        """The environment variables that the entries' credentials name."""
        return {
            _variable(member, name): secret
            for member in self.of("pull")
            for name, secret in cast("PullTerminal", member.terminal).credentials().items()
        }

    def employees(self) -> list[dict[str, Any]]:
        """Those who punch, as ERPNext knows them."""
        return [
            {"name": name, "employee_name": f"Person {code}", "attendance_device_id": code, "status": "Active"}
            for code, name in self._employees.items()
        ]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Have the terminals that are asked serve."""
        async with AsyncExitStack() as stack:
            for member in self.of("pull"):
                await stack.enter_async_context(cast("PullTerminal", member.terminal).serving())
            yield

    async def send(self, url: str) -> Sent:
        """Have the terminals that push send everything, each request until it is answered, and then all of it again."""
        sent = Sent()
        client = httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)
        async with client, asyncio.TaskGroup() as tasks:
            for member in self.of("push"):
                tasks.create_task(_live(client, member, sent))
        return sent

    def write(self, directory: Path) -> list[tuple[str, Path]]:
        """Have the files written: device and path of each."""
        return [
            (member.device_id, cast("FileWriter", member.terminal).write(directory, member.punches))
            for member in self.of("file")
        ]

    def differences(self, rows: Iterable[Mapping[str, Any]], erpnext_zone: str) -> list[str]:
        """How what ERPNext holds of these terminals differs from what they have in memory, each in one line."""
        found: Counter[tuple[str, ...]] = Counter(
            (str(row.get("device_id")), str(row.get("employee")), str(row.get("time")), row.get("log_type") or "")
            for row in rows
        )
        wanted: Counter[tuple[str, ...]] = Counter(
            (
                member.device_id,
                self._employees[punch.user],
                str(to_wall_clock(from_wall_clock(punch.at, ZONE), erpnext_zone)),
                punch.direction,
            )
            for member in self.members
            for punch in member.punches
        )
        missing = [f"missing: {key}" for key in (wanted - found)]
        return missing + [f"must not be there, or not so often: {key}" for key in (found - wanted)]


def _variable(member: Member, name: str) -> str:
    return f"DEMO_{member.device_id}_{name}".upper().replace("-", "_")


async def _live(client: httpx.AsyncClient, member: Member, sent: Sent) -> None:
    """One terminal's life: it says hello, sends what it has, and after a restart sends it again."""
    terminal = cast("PushTerminal", member.terminal)
    for _ in range(2):
        for request in terminal.hello():
            await _deliver(client, terminal, request, 0, sent)
        for first in range(0, len(member.punches), UPLOAD):
            punches = member.punches[first : first + UPLOAD]
            for request in terminal.upload(punches):
                await _deliver(client, terminal, request, len(punches), sent)
            sent.acknowledged += len(punches)
    for request in terminal.strangers():
        await _deliver(client, terminal, request, 0, sent)


async def _deliver(
    client: httpx.AsyncClient, terminal: PushTerminal, request: HttpRequest, punches: int, sent: Sent
) -> None:
    sent.requests += 1
    while True:
        try:
            response = await client.request(
                request.method, request.path, headers=dict(request.headers), content=request.body
            )
        except httpx.TransportError:
            pass
        else:
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = HttpAnswer(response.status_code, headers, response.content)
            if terminal.accepts(answer, punches) if punches else response.is_success:
                return
        sent.retries += 1
        await asyncio.sleep(PAUSE)
