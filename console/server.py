"""The console's process: it serves pages, follows who may use it and what the fleet is, and runs jobs."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from attendance.erpnext import ErpnextClient
from attendance.health import STARTING
from attendance.kafka.fleet import FleetTopic
from attendance.kafka.readers import follow
from attendance.kafka.records import Record
from attendance.listening import listen
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.runtime import STOP_SIGNALS, background
from attendance.settings import ErpnextSettings, KafkaSettings
from attendance.topics import Name
from console.app import Lifespan, create_app
from console.context import Context
from console.employees import Employees
from console.identity.ways import Ways
from console.known_people import KnownPeople
from console.sessions import Sessions
from console.settings import ConsoleSettings
from console.silence import Silence
from console.uploads import LOOK_SECONDS
from ledger.database import Database
from operations.activity import Activities
from operations.console_users import ConsoleUsers
from operations.devices import terminals_view
from operations.job_runner import JobRunner, plan_doers
from operations.jobs import Jobs
from operations.log import KafkaLog
from operations.plan_jobs import PlanSource
from operations.reading_again import Fleet

log = structlog.get_logger(__name__)

STAGE: Final = "console"


def serve(
    kafka: KafkaSettings,
    settings: ConsoleSettings,
    ways: Ways,
    database: Database,
    registry: Registry,
    metrics: Metrics,
    erpnext: ErpnextSettings | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests at hand and return.

    Args:
        kafka: Where the topics are.
        settings: Where to listen, and as what the console is reached.
        ways: How people may sign in.
        database: The ledger that the pages show, prepared.
        registry: The fleet.
        metrics: Say that the console is ready, once it is known who may use it, and how many devices are silent.
        erpnext: The ERPNext that has the documents; None where nobody said it.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    users = ConsoleUsers()
    activities, jobs, people, terminals = Activities(), Jobs(), KnownPeople(), terminals_view()
    log_ = KafkaLog(kafka, STAGE)
    plans = None if erpnext is None else plan_doers(PlanSource(log_, erpnext, lambda: registry))

    def following(
        topic: Name, client: str, learn: Callable[[Record], object], caught_up: asyncio.Event | None = None
    ) -> Callable[[], Awaitable[None]]:
        id_ = kafka.client_id(f"{STAGE}-{client}")
        return partial(follow, kafka, kafka.topics[topic], learn, client_id=id_, caught_up=caught_up)

    works: list[Callable[[], Awaitable[object]]] = [
        following("console_users", "users", users.learn, caught_up=users.caught_up),
        following("console_activity", "activity", activities.learn),
        following("jobs", "jobs", jobs.learn),
        partial(JobRunner(log_, Fleet(lambda: registry).read, plans).keep, jobs),
        following("user_map", "people", people.learn, caught_up=people.caught_up),
        following("terminals", "terminals", terminals.learn),
        FleetTopic(kafka, registry, STAGE).follow,
        registry.keep,
        partial(_say_ready, users, metrics),
        Silence(database, registry, settings, metrics).keep,
    ]
    sessions = Sessions(settings.idle, settings.longest)
    erpnext_url = None if erpnext is None else erpnext.url
    context = Context(
        settings,
        database,
        registry,
        users,
        sessions,
        log_,
        activities,
        jobs,
        terminals=terminals,
        erpnext_url=erpnext_url,
        erpnext=erpnext,
        ways=ways,
        people=people,
        employees=None if erpnext is None else Employees(ErpnextClient(erpnext)),
    )
    app = create_app(context, _lifespan(*works, partial(_forget_uploads, context)))
    config = uvicorn.Config(
        app,
        loop="uvloop",
        # It would believe any header of a proxy on this machine.
        proxy_headers=False,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    # At its end the server raises each signal again, for whoever handled it before: that must not kill the process.
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    with listen("CONSOLE", settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        log.info("Listening.", host=host, port=port)
        server.run([listener])
    database.close()


async def _forget_uploads(context: Context) -> None:
    """Remove files that nobody has done anything with for a while, and at the end all of them."""
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            context.uploads.expire(context.clock())
    finally:
        context.uploads.close()


async def _say_ready(users: ConsoleUsers, metrics: Metrics) -> None:
    metrics.health.watch_loop()
    await users.caught_up.wait()
    metrics.ready(STARTING, None)
    if not len(users):
        log.warning("Nobody may use the console yet: `punchstream console user add NAME` makes an account.")
    await asyncio.Event().wait()


def _lifespan(*works: Callable[[], Awaitable[object]]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with background(works):
            yield

    return lifespan
