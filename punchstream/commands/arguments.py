"""What several commands begin with: times of their arguments, and the log."""

import asyncio
import getpass
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Final

import typer

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.fleet import Device
from attendance.registry import Registry
from attendance.settings import CommonSettings, KafkaSettings
from attendance.times import parse_utc
from attendance.topics import Name
from operations.log import KafkaLog, Log, Skipped
from punchstream.output import say, say_skipped

SINCE: Final = (
    "Only punches that arrived since then, by the broker's clock. A date such as `2026-01-01` is midnight UTC."
)
UNTIL: Final = "Only punches that reached Kafka before then, by its clock. A date is midnight UTC."


def instant(text: str | None, option: str = "--since") -> datetime | None:
    """The instant that a date, or a time with an offset, names.

    Args:
        text: Such as `2026-01-01`, which is midnight in UTC; None names none.
        option: Where it was given, for the error.

    Raises:
        ConfigurationError: it names none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if len(text) == len("2026-01-01") else parse_utc(text)
    except ValueError as error:
        known = "neither a date such as 2026-01-31 nor a time such as 2026-01-31T08:00:00+03:00"
        raise ConfigurationError(f"{option}: `{text}` is {known}") from error


def kafka_log(client: str) -> KafkaLog:
    """The topics as the settings describe them; `client` says which command asks.

    Raises:
        ConfigurationError: a setting is wrong or missing.
    """
    return KafkaLog(KafkaSettings.load(), client)


def known_fleet() -> Registry:
    """The fleet of the fleet file and the fleet topic. If the topic cannot be read, it is the file's, and that is said.

    It may be asked within an event loop, which stands still meanwhile.

    Raises:
        ConfigurationError: the file is wrong; or there is none, and the topic cannot be read or is empty.
    """
    from operations.fleet import learn_fleet

    registry, skipped = Registry.load(CommonSettings.load()), Skipped()
    path = registry.path
    try:
        log = kafka_log("fleet")
    except ConfigurationError:
        if not registry.has_file:
            raise
        return registry  # nobody has set a Kafka, so there is no topic
    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, learn_fleet(log, registry, skipped)).result()
    except KafkaUnavailable as error:
        if not registry.has_file:
            raise ConfigurationError(
                f"PUNCHSTREAM_DEVICES: {path} is not there; and the fleet topic: {error}"
            ) from error
        say(f"The fleet topic cannot be read, so this goes by {path} alone: {error}", err=True)
    say_skipped(skipped)
    if not registry.has_file and not registry.topic.all():
        raise ConfigurationError(f"PUNCHSTREAM_DEVICES: {path} is not there; and the fleet topic is empty")
    return registry


def known_devices() -> list[Device]:
    """The devices of the fleet. One that is wrong, or not there, has none, which is said."""
    try:
        return list(known_fleet())
    except ConfigurationError as error:
        say(str(error), err=True)
        return []


def device_finder() -> Callable[[str], Device | None]:
    """Finds devices of the fleet, which is read once, when it is first asked. A fleet that is wrong has none."""

    @cache
    def fleet() -> Registry | None:
        try:
            return known_fleet()
        except ConfigurationError as error:
            say(str(error), err=True)
            return None

    def find(device_id: str) -> Device | None:
        known = fleet()
        return None if known is None else known.get(device_id)

    return find


def fleet_has() -> Callable[[str], bool]:
    """Asks the fleet whether it has a device, as `device_finder` does."""
    find = device_finder()
    return lambda device_id: find(device_id) is not None


def stop_where_nothing_is(
    log: Log,
    *topics: Name,
    since: datetime | None = None,
    until: datetime | None = None,
    devices: Sequence[str] = (),
) -> None:
    """Say what was asked about and is not there, and end with status 1. See `operations.asked.Asked.not_there`.

    Args:
        log: The topics.
        topics: Where records may be.
        since: From when on; None for all that are there.
        until: Before when; None for no end.
        devices: Whose; empty for everybody's.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    from operations.asked import Asked

    sentences = asyncio.run(Asked(since, until, devices, fleet_has()).not_there(log, topics))
    for sentence in sentences:
        say(sentence, err=True)
    if sentences:
        raise typer.Exit(1)


def who() -> str:
    """The operating system's user, who decides."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        return f"uid {os.getuid()}"
