"""Which devices a list shows, and in which order: what `devices list` and `fleet list` have in common."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from attendance.durations import parse_seconds
from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.working_hours import WorkingHours, working_time
from operations.device_statuses import StatusesOnTopic, StatusSource
from operations.log import Skipped
from producers.devices import ADAPTERS
from punchstream.commands.arguments import kafka_log
from punchstream.commands.ledger_database import ledger_to_ask, say_source
from punchstream.output import say_skipped

OfSites = Annotated[
    list[str] | None, typer.Option("--site", help="Only devices of this site. May be given more than once.")
]
OfAdapter = Annotated[str | None, typer.Option("--adapter", help="Only devices of this adapter.")]
Silent = Annotated[
    str | None,
    typer.Option(
        "--silent",
        help="Only devices that said nothing for so long, such as `30m`, within the working hours of their site. Exit"
        " status 1 if there are any.",
    ),
]
SortBy = Annotated[str, typer.Option("--sort", help="By which column.")]


def chosen(fleet: Iterable[Device], sites: Sequence[str] | None, adapter: str | None) -> list[Device]:
    """The devices of some sites and an adapter.

    Args:
        fleet: All devices.
        sites: Of these; none given is any.
        adapter: Of this one; None is any.

    Raises:
        ConfigurationError: no device is of such a site, or there is no such adapter.
    """
    devices = list(fleet)
    if unknown := [each for each in sites or () if each not in {device.site for device in devices}]:
        raise ConfigurationError(f"--site: no device is of {', '.join(unknown)}")
    if adapter is not None and not any(adapter in of_way for of_way in ADAPTERS.values()):
        raise ConfigurationError(f"--adapter: there is no adapter {adapter}")
    return [each for each in devices if (not sites or each.site in sites) and adapter in (None, each.adapter)]


def newest_statuses(*, from_topics: bool) -> dict[str, DeviceStatus]:
    """What each device last said of itself, by the ledger or the topic; of the ledger it is said as of when.

    Args:
        from_topics: Whether the topic was asked for.
    """
    skipped = Skipped()
    database = ledger_to_ask(from_topics=from_topics)
    source: StatusSource
    if database is None:
        source = StatusesOnTopic(kafka_log("devices"), skipped)
    else:
        from ledger.device_statuses import LedgerStatuses

        source = LedgerStatuses(database, skipped)
    newest = asyncio.run(source.newest())
    say_skipped(skipped)
    say_source(source)
    return newest


def silence(text: str) -> timedelta:
    """For how long a device said nothing that is silent.

    Args:
        text: Such as `30m`.

    Raises:
        ConfigurationError: it is no duration.
    """
    try:
        return timedelta(seconds=parse_seconds(text))
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"--silent: {error}") from error


def is_silent(
    device: Device, status: DeviceStatus | None, hours: WorkingHours | None, at: datetime, longest: timedelta
) -> bool:
    """Whether a device that is to be heard was not, for too long a part of the working hours of its site.

    Args:
        device: Which one.
        status: What it last said; None where it never said anything.
        hours: Of its site; None where it works always.
        at: What time it is.
        longest: As `silence` gives it.
    """
    if device.disabled or device.paused:
        return False
    return status is None or working_time(hours, status.heard_at, at) > longest


def sort_rows(rows: list[dict[str, Any]], columns: Sequence[str], by: str) -> None:
    """Put rows in the order of a column; those without a value first, and those that are alike by device.

    Args:
        rows: Each has all columns.
        columns: Their names.
        by: One of them.

    Raises:
        ConfigurationError: it is none of them.
    """
    if by not in columns:
        raise ConfigurationError(f"--sort: {by!r} is none of {', '.join(columns)}")
    rows.sort(key=lambda row: (row[by] is not None, "" if row[by] is None else row[by], row["device_id"]))
