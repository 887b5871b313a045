"""Devices: pausing, asking who they are, their settings, and having them send punches again."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from datetime import date
from typing import Final

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable
from attendance.fleet import Device
from console.acting import Refused, recorded
from console.actions.fleet import changing, find, find_all, in_words
from console.backfills import Backfill
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from ledger.trace import LedgerTrace
from operations import backfill, device_settings, pauses
from operations.backfill import Way, way_of
from operations.devices import DeviceCheck, ask_device
from operations.log import Skipped
from operations.refetch import Days
from producers.devices.common.settings import Setting

ASKED: Final = 30.0
"""Seconds for which somebody waits for a device before a page."""


async def pause(context: Context, actor: Actor, device_ids: Sequence[str], why: str) -> list[str]:
    """Have nothing taken from devices for now, so that they keep their punches.

    Args:
        context: Of the console.
        actor: Who does it.
        device_ids: Which ones.
        why: What they say of it.

    Returns:
        Those that were not paused before.

    Raises:
        Refused: there is no such device, one cannot be paused by itself, or nobody said why.
        KafkaUnavailable: Kafka does not answer; each may be paused or not.
    """
    devices = find_all(context, actor, device_ids)
    if not why.strip():
        raise Refused(_("Say why, for whoever looks at it later."))
    for device in devices:
        if device.via is not None:
            raise Refused(
                _("%(server)s holds the punches of %(device)s: pause that one, with all of its devices."),
                server=device.via,
                device=device.device_id,
            )
        if device.mode == "file":
            raise Refused(_("Somebody brings the punches of %(device)s by file."), device=device.device_id)
    names = [device.device_id for device in devices]
    async with changing(context, actor, "device.pause", _about(names), why.strip()) as ending:
        new = await pauses.pause(context.log, devices, names, by=actor.name, why=why, at=context.clock())
        ending.result = str(len(new))
    return new


async def resume(context: Context, actor: Actor, device_ids: Sequence[str]) -> list[str]:
    """Take punches from devices again. Takes and raises what `pause` does.

    Returns:
        Those that were paused.
    """
    names = [device.device_id for device in find_all(context, actor, device_ids)]
    async with changing(context, actor, "device.resume", _about(names)) as ending:
        ended = await pauses.resume(context.log, names)
        ending.result = str(len(ended))
    return ended


async def check(context: Context, actor: Actor, device_id: str) -> list[DeviceCheck]:
    """Look at a device's entry, and ask the device who it is, where it can be asked. Nothing is changed.

    Args:
        context: Of the console.
        actor: Who asks.
        device_id: Which device.

    Raises:
        Refused: there is no such device.
    """
    device = find(context, actor, device_id)
    try:
        async with asyncio.timeout(ASKED):
            return await ask_device(device)
    except TimeoutError:
        return [DeviceCheck("answer", False, f"none within {ASKED:g} s")]
    except ConfigurationError as error:
        return [DeviceCheck("settings", False, str(error))]


async def read_settings(context: Context, actor: Actor, device_id: str) -> Sequence[Setting]:
    """The settings of a device beside what they should be. Nothing is changed.

    Args:
        context: Of the console.
        actor: Who asks.
        device_id: Which device.

    Raises:
        Refused: there is no such device, it compares no settings, or it does not answer.
    """
    device = find(context, actor, device_id)
    return await _answered(device, device_settings.read_settings(device))


async def configure(context: Context, actor: Actor, device_id: str, names: Collection[str]) -> Sequence[Setting]:
    """Change settings of a device that are not as they should be.

    Args:
        context: Of the console.
        actor: Who does it.
        device_id: Which device.
        names: Those of which they have seen the difference.

    Returns:
        All of its settings, as they are then.

    Raises:
        Refused: there is no such device, it compares no settings, or it does not answer.
    """
    device = find(context, actor, device_id)
    if not names:
        raise Refused(_("Choose at least one setting."))
    about = _about([device_id]) | {"settings": ", ".join(sorted(names))}
    async with recorded(context, actor, "device.configure", about):
        return await _answered(device, device_settings.configure(device, names))


def backfill_way(context: Context, device: Device) -> Way | None:
    """How a device gives punches again; None where it cannot.

    Args:
        context: Of the console.
        device: Its entry.
    """
    return way_of(device, context.registry)


async def begin_backfill(context: Context, actor: Actor, device_id: str, first: date, last: date) -> Way:
    """Have a device give the punches of some days again. It goes on after this returns.

    Args:
        context: Of the console, whose `backfills` say how it goes on.
        actor: Who does it.
        device_id: Which device.
        first: The first day, on the clock of the device's zone.
        last: The last one.

    Returns:
        Whether the device is asked, or was ordered to send them when it next comes.

    Raises:
        Refused: there is no such device, it cannot do that, the days cannot be, or it is doing so already.
        KafkaUnavailable: Kafka does not answer; a command may be there or not.
    """
    device, days = find(context, actor, device_id), Days(first, last)
    way = backfill_way(context, device)
    if way is None:
        raise Refused(_("%(device)s cannot be asked for its punches again."), device=device_id)
    about = _about([device_id]) | {"days": f"{first} - {last}"}
    try:
        backfill.check_days(device, days)
        if way == "ordered":
            async with recorded(context, actor, "device.backfill", about) as ending:
                ending.result = await backfill.order(context.log, device, days, Skipped())
            return way
    except ConfigurationError as error:
        raise Refused(_("It cannot be so: %(why)s"), why=in_words(error)) from error
    running = Backfill(first.isoformat(), last.isoformat(), actor.name, context.clock())

    async def work() -> str:
        async with recorded(context, actor, "device.backfill", about) as ending:
            source = LedgerTrace(context.database)
            found = await backfill.ask(context.log, source, context.registry, device, days, running.came)
            if found.failed:
                raise DeviceUnavailable(found.said)
            ending.result = found.said
        return found.said

    if not context.backfills.begin(device_id, running, work):
        raise Refused(_("%(device)s is being asked already. Wait until that is done."), device=device_id)
    return way


async def _answered(device: Device, asked: Awaitable[Sequence[Setting]]) -> Sequence[Setting]:
    try:
        async with asyncio.timeout(ASKED):
            return await asked
    except TimeoutError as error:
        raise Refused(_("%(device)s does not answer."), device=device.device_id) from error
    except ConfigurationError as error:
        raise Refused(_("It cannot be so: %(why)s"), why=in_words(error)) from error
    except (DeviceUnavailable, DeviceRefused) as error:
        raise Refused(
            _("%(device)s was asked, and it failed: %(why)s"), device=device.device_id, why=str(error)
        ) from error


def _about(names: Sequence[str]) -> dict[str, str]:
    return {"device": ", ".join(names)}
