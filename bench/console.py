"""`python -m bench.console`: how long the pages of the console take on the server, over a large ledger and fleet.

The application answers in this process, without a network and without Kafka. Pages that are not among the questions
here are asked for as they are, so that a new one is measured too. The target is one of CPU time: the machine may do
other things too.
"""

import argparse
import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlencode

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from httpx import ASGITransport, AsyncClient
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from attendance.records.dead_letter_action import LetterId
from bench.console_context import JOBS, SIGNED_IN, context
from bench.ledger import fill, report
from bench.ledger_records import Maker, Shape
from bench.measure import percentile
from console.app import create_app
from console.identity.ways import RETURN
from ledger.database import Database
from ledger.tables import DEAD_LETTERS
from operations.paging import page_token
from punchstream.commands.stages import YOUNG_OBJECTS

SHAPE: Final = Shape(
    devices=5_000,
    sites=100,
    employees=60_000,
    seconds_between=1.728,  # 50,000 punches a day
    one_waits_of=10,
    one_fails_of=100,
)
TARGET_MS: Final = 300  # of CPU
ADDRESS: Final = "http://127.0.0.1:8180"
_BEYOND: Final = "/attention/erpnext", "/sign-in/openid", RETURN
"""Pages that ask Kafka, or an OpenID provider."""
Question = Callable[[], str]
console = Console()


def questions(punches: int, letters: Sequence[str], chance: random.Random) -> Mapping[str, Question]:
    """By name what is asked: pages, what narrows them, and pages at depth. `letters` are ids of dead letters."""

    def number() -> int:
        return chance.randrange(punches)

    def asked(path: str, **query: object) -> str:
        return f"{path}?{urlencode(query)}"

    def day(of: int) -> str:
        return SHAPE.at(of).date().isoformat()

    def punches_of_employee() -> str:
        of = number()
        return asked("/trace", employee=SHAPE.employee(of), day=day(of))

    def punches_of_user() -> str:
        of = number()
        return asked("/trace", device=SHAPE.device(of), user=of % SHAPE.employees, day=day(of))

    def person() -> dict[str, object]:
        waits = number() // 10 * 10 + 1  # as `one_waits_of` has it
        return {"user": waits % SHAPE.employees, "site": SHAPE.site(waits)}

    def people_after() -> str:
        return asked("/people", after=page_token(SHAPE.site(number()), "", "unmapped_user"))

    return {
        "overview": lambda: "/",
        "devices": lambda: "/devices",
        "devices, the last page": lambda: asked("/devices", number=SHAPE.devices // 100),
        "devices of a site": lambda: asked("/devices", site=SHAPE.site(number())),
        "devices in a state": lambda: asked("/devices", state="silent"),
        "devices by name": lambda: asked("/devices", q=SHAPE.device(number())),
        "a device": lambda: f"/devices/{SHAPE.device(number())}",
        "needs attention": lambda: "/attention",
        "letters of a reason": lambda: asked("/attention/letters", reason="clock_skew"),
        "letters of a device": lambda: asked("/attention/letters", device=SHAPE.device(number())),
        "a letter": lambda: "/attention/letters/" + chance.choice(letters),
        "jobs": lambda: "/jobs",
        "a job": lambda: f"/jobs/job{chance.randrange(JOBS)}",
        "unmapped people": lambda: "/people",
        "unmapped people, somewhere": people_after,
        "unmapped people of a site": lambda: asked("/people", site=SHAPE.site(number())),
        "a number": lambda: asked("/people/number", **person()),
        "how far a number is": lambda: asked("/people/progress", **person()),
        "trace, nothing asked": lambda: "/trace",
        "trace of an employee": punches_of_employee,
        "trace of a device user": punches_of_user,
    }


def some_letters(database: Database) -> list[str]:
    """Dead letters that there are."""
    place = DEAD_LETTERS.c.kafka_partition, DEAD_LETTERS.c.kafka_offset
    with database.transaction() as connection:
        return [str(LetterId(*row)) for row in connection.execute(select(*place).limit(1_000))]


def unnamed(app: FastAPI, named: Mapping[str, Question]) -> Iterator[tuple[str, Question]]:
    """The pages that nothing here asks for, and that need nothing in their address."""
    known = {ask().partition("?")[0] for ask in named.values()} | {"/sign-in", *_BEYOND}
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute) and "GET" in (route.methods or ()):
            path = str(route.path)
            if "{" not in path and path not in known:
                yield path, partial(str, path)


async def measure(app: FastAPI, named: Mapping[str, Question], times: int) -> None:
    """Ask for each page, and print how long each took."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    headers = {"sec-fetch-site": "same-origin"}
    table = Table("page", "status", "median, ms", "p95, ms", "CPU p95, ms", "KB", "")
    async with AsyncClient(transport=transport, base_url=ADDRESS, headers=headers) as client:
        name, password = SIGNED_IN
        answer = await client.post("/sign-in", data={"name": name, "password": password})
        assert answer.status_code == 303, answer.text
        for what, ask in (*named.items(), *unnamed(app, named)):
            seconds, cpu, statuses, size = [], [], set(), 0
            for turn in range(times + 1):
                address = ask()
                began, cpu_before = time.perf_counter(), time.process_time()
                answer = await client.get(address)
                if turn:  # The first one reads the template.
                    seconds.append(time.perf_counter() - began)
                    cpu.append(time.process_time() - cpu_before)
                statuses.add(answer.status_code)
                size = max(size, len(answer.content))
            cpu_p95 = percentile(cpu, 95) * 1e3
            figures = (
                f"{median(seconds) * 1e3:.0f}",
                f"{percentile(seconds, 95) * 1e3:.0f}",
                f"{cpu_p95:.0f}",
                f"{size / 1024:.0f}",
            )
            said = " ".join(map(str, sorted(statuses)))
            table.add_row(what, said, *figures, "over" if cpu_p95 > TARGET_MS else "")
    console.print(table)


def main() -> None:
    """Fill a ledger, and ask for pages."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--punches", type=int, default=1_000_000, help="to take in (%(default)s)")
    parser.add_argument("--file", type=Path, help="where the ledger is, or comes to be; a temporary one if not given")
    parser.add_argument("--times", type=int, default=40, help="that each page is asked for (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the questions (%(default)s)")
    arguments = parser.parse_args()
    # As in each process of a stage.
    gc.set_threshold(YOUNG_OBJECTS)
    gc.freeze()
    with TemporaryDirectory() as directory:
        file = arguments.file or Path(directory, "ledger.sqlite")
        is_there = file.exists()
        database = Database(f"sqlite:///{file}")
        database.prepare()
        if not is_there:
            maker = Maker(SHAPE)
            fill(database, maker, arguments.punches)
            report(database, maker, SHAPE.at(arguments.punches - 1))
        app = create_app(context(Path(directory), database, SHAPE, SHAPE.at(arguments.punches - 1)))
        named = questions(arguments.punches, some_letters(database), random.Random(arguments.seed))
        asyncio.run(measure(app, named, arguments.times))
        database.close()


if __name__ == "__main__":
    main()
