"""`punchstream up`: every stage on one machine. What is missing is started from the sandbox, and it says so."""

import asyncio
import json
import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console

from attendance.fleet import hash_token, new_token
from attendance.kafka.admin import create_topics
from attendance.private_files import write_private
from attendance.registry import Registry
from attendance.settings import CommonSettings, ErpnextSettings, KafkaSettings
from attendance.times import format_seconds, now
from ledger.settings import LedgerSettings
from operations.fleet import learn_fleet
from operations.log import KafkaLog, Skipped
from operations.site.setup import ensure_event_id_field
from producers.pull.sources import sources
from punchstream.commands.console import missing_libraries
from punchstream.commands.ledger_database import open_database
from punchstream.commands.settings import every_group, is_set
from punchstream.output import say_skipped
from punchstream.stages import COMPLETENESS, CONSOLE, LEDGER, PULL, STAGES, Stages
from sandbox.broker import BrokerKind, create_broker
from sandbox.erpnext.server import ErpnextStandIn

FIRST_ACCOUNT: Final = "admin"
LEDGER_FILE: Final = "ledger.sqlite"
SAMPLE_EMPLOYEE: Final = {"name": "HR-EMP-00001", "attendance_device_id": "1001", "status": "Active"}


def run(directory: Path, console: Console) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        directory: For logs and data. It is made.
        console: Where to say what runs and how it is used.

    Raises:
        ConfigurationError: a setting is wrong or missing.
        KafkaUnavailable: Kafka does not answer.
        BrokerFailed, ProcessFailed: a part cannot be run here, or did not start.
    """
    sigterm_interrupts()
    with ExitStack() as stack:
        try:
            stages = _start(directory, console, stack)
            while True:
                time.sleep(1)
                stages.check()
        except KeyboardInterrupt:
            console.print("Stopping.")


def sigterm_interrupts() -> None:
    """From now on SIGTERM ends what is going on as Ctrl-C does, by KeyboardInterrupt."""
    # A shell starts what it puts into the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # By way of SIGINT, because asyncio handles that one in its own way while it runs.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def _start(directory: Path, console: Console, stack: ExitStack) -> Stages:
    """Start everything, and tell the user what it is and how to use it."""
    common = CommonSettings.load()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = dict(os.environ)
    token = None
    ledger = directory / LEDGER_FILE
    if not is_set("KAFKA_BOOTSTRAP_SERVERS"):
        stack.enter_context(sandbox_broker("embedded", directory))
        remove_ledger(directory)
        console.print("Kafka: the embedded broker, in memory: what it holds is gone at the end.", style="yellow")
    if not is_set("ERPNEXT_URL"):
        stand_in = stack.enter_context(sandbox_erpnext(directory))
        stand_in.employees([SAMPLE_EMPLOYEE])
        console.print(f"ERPNext: a stand-in at {stand_in.url}, in memory.", style="yellow")
    for group in every_group():
        group.load()  # so that a wrong setting ends the start in one line, not each stage in its own log
    if is_set("LEDGER_URL"):
        open_database(LedgerSettings.load()).close()
    registry = Registry.load(common)
    asyncio.run(_make_topics_and_learn_fleet(registry))
    if not registry.has_file and not registry.topic.all():
        token = sample_registry(directory / "devices.yaml")
        console.print(f"Fleet: one sample device, in {directory / 'devices.yaml'}.", style="yellow")
    lacking = missing_libraries()
    # For the stages alone: the other commands go on reading the topics, unless somebody has chosen a ledger.
    of_its_own = {} if is_set("LEDGER_URL") or lacking else {"LEDGER_URL": f"sqlite:///{ledger.resolve()}"}
    names = (
        *((LEDGER,) if is_set("LEDGER_URL") or of_its_own else ()),
        *(() if lacking else (CONSOLE,)),
        *((COMPLETENESS,) if registry.shifts else ()),
        *STAGES,
        *((PULL,) if sources(registry) else ()),
    )
    stages = stack.enter_context(Stages(directory, names, of_its_own))
    # Before anything is said: whoever reads where punches go finds everything else there.
    password = None if lacking else make_first_account("punchstream up")
    console.print(f"Running {', '.join(names)}; their logs are in {directory}/.")
    console.print(f"Punches: POST {stages.url}/v1/events")
    say_console(console, stages.console_url, lacking, password)
    if token:
        console.print(f"Try it:\n{example(stages.url, token)}", soft_wrap=True)
    stack.enter_context(other_commands(directory / "env", settings, console))
    return stages


async def _make_topics_and_learn_fleet(registry: Registry) -> None:
    kafka, skipped = KafkaSettings.load(), Skipped()
    await create_topics(kafka)
    await learn_fleet(KafkaLog(kafka, "up"), registry, skipped)
    say_skipped(skipped)


def say_console(console: Console, address: str, lacking: Sequence[str], password: str | None) -> None:
    """Say where the console is, and the password of the first account, once.

    Args:
        console: Where to say it.
        address: Of the console.
        lacking: The libraries without which there is no console.
        password: Of an account that was just made; None where there was one.
    """
    if lacking:
        console.print(f"No console: it needs {', '.join(lacking)}.", style="yellow")
        return
    entry = "" if password is None else f" Sign in as {FIRST_ACCOUNT} with {password}, which is shown once."
    console.print(f"Console: {address}{entry}", soft_wrap=True)


def make_first_account(by: str) -> str | None:
    """Make an account of the console, where there is none.

    Args:
        by: The command that makes it.

    Returns:
        Its password; None where there is an account.

    Raises:
        KafkaUnavailable: Kafka does not answer.
    """
    return asyncio.run(_make_first_account(by))


async def _make_first_account(by: str) -> str | None:
    from operations.console_users import add_user, new_password, read_console_users

    log, skipped, password = KafkaLog(KafkaSettings.load(), "up"), Skipped(), new_password()
    known = await read_console_users(log, skipped)
    if not len(known):
        await add_user(log, FIRST_ACCOUNT, password, by, skipped)
    say_skipped(skipped)
    return None if len(known) else password


@contextmanager
def sandbox_broker(kind: BrokerKind, directory: Path) -> Iterator[None]:
    """A broker of the sandbox while the context lasts. The environment of this process leads to it.

    Args:
        kind: Which broker.
        directory: For its log and its data.

    Raises:
        BrokerFailed: it cannot be run here, or did not start.
    """
    with create_broker(kind, directory) as broker:
        os.environ.update(broker.client_settings() | {"KAFKA_PARTITIONS": "4"})
        yield


@contextmanager
def sandbox_erpnext(directory: Path, *, time_zone: str = "UTC", latency_ms: int = 0) -> Iterator[ErpnextStandIn]:
    """A stand-in for ERPNext while the context lasts, set up. The environment of this process leads to it.

    Args:
        directory: For its log.
        time_zone: Its own, by its IANA name.
        latency_ms: How many milliseconds each request takes at least.
    """
    log_file = directory / "erpnext-stand-in.log"
    with ErpnextStandIn(log_file=log_file, time_zone=time_zone, latency_ms=latency_ms) as stand_in:
        os.environ.update(
            ERPNEXT_URL=stand_in.url, ERPNEXT_API_KEY=stand_in.api_key, ERPNEXT_API_SECRET=stand_in.api_secret
        )
        ensure_event_id_field(ErpnextSettings.load())
        yield stand_in


def remove_ledger(directory: Path) -> None:
    """Remove a ledger that has read topics that are gone.

    Args:
        directory: Where it is, if it is there.
    """
    for file in directory.glob(f"{LEDGER_FILE}*"):
        file.unlink()


@contextmanager
def other_commands(path: Path, before: Mapping[str, str], console: Console) -> Iterator[None]:
    """A file for a shell's `.` that leads the other commands to what was started here, while the context lasts.

    Where this process has no other settings than the one that started it, there is no file.

    Args:
        path: Will be readable by its owner only.
        before: The environment with which this process began.
        console: Where to say how the file is used.
    """
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    if not added:
        yield
        return
    write_private(path, "".join(f"{name}={shlex.quote(value)}\n" for name, value in added.items()))
    console.print("The other commands, in another terminal:", end=" ")
    console.print(f"set -a; . {shlex.quote(str(path))}; punchstream audit", soft_wrap=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def sample_registry(path: Path) -> str:
    """Write a fleet file of one device, lead this process's environment to it, and return the device's token."""
    token = new_token()
    device = {"device_id": "sample", "site": "sample", "timezone": "UTC", "token_sha256": hash_token(token)}
    path.write_text(yaml.safe_dump([device]))
    os.environ["PUNCHSTREAM_DEVICES"] = str(path.resolve())
    return token


def example(url: str, token: str) -> str:
    """A command line that posts a punch of the sample employee on the sample device.

    Args:
        url: Of push.
        token: The device's.
    """
    body = {"device_id": "sample", "events": [{"user_id": "1001", "time": format_seconds(now()), "type": "IN"}]}
    return f"curl {url}/v1/events -H 'X-Device-Token: {token}' -d '{json.dumps(body)}'"
