"""What the console of the bench has: the fleet, an account, the user map, jobs and activities of many people."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import orjson
from argon2 import PasswordHasher

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import Record
from attendance.records.activity import Activity
from attendance.records.console_user import ConsoleUser
from attendance.records.job import JobAsked, JobProgress, LettersWanted
from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from attendance.registry import Registry
from attendance.settings import KafkaSettings
from attendance.topics import Name
from attendance.wire import Place
from bench.ledger_records import PARTITIONS, TOPICS, Made, Shape
from console.context import Context
from console.sessions import Sessions
from console.settings import ConsoleSettings
from ledger.database import Database
from operations.activity import Activities
from operations.console_users import ConsoleUsers
from operations.fact_reading import milliseconds
from operations.log import KafkaLog

SIGNED_IN: Final = "bench", "a password of the bench"
JOBS: Final = 200
ACTIVITIES: Final = 1_000
BY_HAND: Final = 500
"""Numbers that somebody mapped."""


class NoKafka(KafkaLog):
    """A cluster that says at once that it does not answer, for the page that asks it for a record and does without."""

    async def at(self, *_: object) -> Mapping[Place, Record]:
        """See `Log.at`."""
        raise KafkaUnavailable("the bench has no Kafka")


class _Keyed(Protocol):
    @property
    def key(self) -> bytes:
        """The record key."""

    def encode(self) -> bytes:
        """The record value."""


def context(directory: Path, database: Database, shape: Shape, at: datetime) -> Context:
    """What the pages have.

    Args:
        directory: Where the fleet file is written.
        database: The ledger.
        shape: What devices, sites and employees there are.
        at: What time it is.
    """
    file = directory / "devices.yaml"
    devices = [
        {"device_id": shape.device(n), "site": shape.site(n), "timezone": "Asia/Riyadh", "token_sha256": "0" * 64}
        for n in range(shape.devices)
    ]
    file.write_bytes(orjson.dumps(devices))
    users, hasher, (name, password) = ConsoleUsers(), PasswordHasher(), SIGNED_IN
    user = ConsoleUser(name, hasher.hash(password), at, "bench", role="administrator")
    users.apply(_record("console_users", user, at))
    settings = ConsoleSettings(_env_file=None)
    sessions = Sessions(settings.idle, settings.longest)
    nowhere = NoKafka(KafkaSettings(_env_file=None), "bench")
    made = Context(settings, database, Registry(file), users, sessions, nowhere, clock=lambda: at)
    _map_people(made, shape, at)
    _ask_for_jobs(made, at)
    _act(made.activities, at)
    return made


def _map_people(made: Context, shape: Shape, at: datetime) -> None:
    """Every employee is in the map, with a number that has more zeros than the device's; some are mapped by hand."""
    for number in range(shape.employees):
        name = shape.employee(number)
        for entry in (Employee(name, "Active"), UserMapping(EVERYWHERE, f"00{number}", name, "erpnext")):
            made.people.learn(_record("user_map", entry, at))
    for number in range(BY_HAND):
        scope, name = site_scope(shape.site(number)), shape.employee(number)
        by_hand = UserMapping(scope, str(number), name, "console", at, "bench", "a new card")
        made.people.learn(_record("user_map", by_hand, at))


def _ask_for_jobs(made: Context, at: datetime) -> None:
    for number in range(JOBS):
        asked_at, job_id = at - timedelta(hours=JOBS - number), f"job{number}"
        wanted = LettersWanted(dict.fromkeys(range(PARTITIONS), 1_000))
        made.jobs.take(
            _record("jobs", JobAsked(job_id, "replay_letters", wanted, asked_at, "bench", None, 100), asked_at)
        )
        progress = JobProgress(job_id, "bench", "done", asked_at, 100, 98, 1, 1, ("it was replayed three times",))
        made.jobs.take(_record("jobs", progress, asked_at))


def _act(activities: Activities, at: datetime) -> None:
    for number in range(ACTIVITIES):
        begun, about = at - timedelta(minutes=ACTIVITIES - number), {"device": f"D{number}"}
        activity = Activity(
            f"{number:032}", begun, "bench", "console", "pause_device", "done", about, "a move", "paused"
        )
        activities.learn(_record("console_activity", activity, begun))


def _record(name: Name, of: _Keyed, at: datetime) -> Made:
    return Made(TOPICS[name], 0, 0, milliseconds(at), of.key, of.encode(), ())
