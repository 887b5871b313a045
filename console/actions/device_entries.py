"""Entries of devices: the console's own, added, changed and removed; and the keys of devices."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from attendance.errors import ConfigurationError
from attendance.fleet import hash_token, new_token
from attendance.fleet_topic import CONSOLE
from console.acting import Refused
from console.actions.fleet import NOTHING, changing, check_is_ours, check_site, find, in_words
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from operations import fleet_changes
from operations.fleet import edit
from operations.fleet_plan import About, Fields

COLUMNS: Final = (
    *("name", "site", "timezone", "mode", "adapter", "serial", "host", "port", "addresses", "interval", "direction"),
    *("checkin_time", "installed_on", "latitude", "longitude"),
)
"""The fields that are changed here, by the names of the fleet file. Tokens, credentials and options are not shown."""


async def add(context: Context, actor: Actor, device_id: str, cells: Mapping[str, str]) -> str | None:
    """Add a device. One that pushes and has no serial number gets a key.

    Args:
        context: Of the console.
        actor: Who does it.
        device_id: Its id.
        cells: What its entry is to say, by `COLUMNS`. An empty cell says nothing.

    Returns:
        The key, which nobody can find out again; None where it has none.

    Raises:
        Refused: there is such a device, or the entry would be wrong.
        KafkaUnavailable: Kafka does not answer; it may be there or not.
    """
    if context.registry.get(device_id) is not None:
        raise Refused(_("There is a device %(device)s already."), device=device_id)
    check_site(context, actor, cells.get("site", "").strip())
    fields = _changed({}, cells)
    key = None
    if fields.get("mode", "push") == "push" and not fields.get("serial"):
        key = new_token()
        fields["token_sha256"] = hash_token(key)
    about = {"device": device_id, "site": str(fields.get("site", ""))}
    async with changing(context, actor, "device.add", about):
        await fleet_changes.add(context.log, ("device", device_id), fields, CONSOLE, actor.name)
    return key


async def change(context: Context, actor: Actor, device_id: str, cells: Mapping[str, str]) -> None:
    """Change what the entry of a device says.

    Args:
        context: Of the console.
        actor: Who does it.
        device_id: Its id.
        cells: What is to be different, by `COLUMNS`. An empty cell takes the field away, so that the site or the
            default has it.

    Raises:
        Refused: the entry is not the console's, or would be wrong.
        KafkaUnavailable: Kafka does not answer; it may be changed or not.
    """
    find(context, actor, device_id)
    check_is_ours(context, device_id)
    if "site" in cells:
        check_site(context, actor, cells["site"].strip())
    _changed({}, cells)

    def changed(_about: About, fields: Fields) -> Fields:
        return _changed(fields, cells)

    await _edit(context, actor, "device.change", device_id, changed)


async def set_disabled(context: Context, actor: Actor, device_id: str, *, disabled: bool) -> None:
    """Have a device not work any more, or again: its key opens nothing, and no shift waits for it.

    Takes and raises what `change` does.
    """
    find(context, actor, device_id)
    check_is_ours(context, device_id)

    def changed(_about: About, fields: Fields) -> Fields:
        return {**fields, "disabled": disabled}

    await _edit(context, actor, "device.change", device_id, changed, disabled="yes" if disabled else "no")


async def renew_key(context: Context, actor: Actor, device_id: str) -> str:
    """Give a device that pushes another key. The one that it had opens nothing any more.

    Args:
        context: Of the console.
        actor: Who does it.
        device_id: Its id.

    Returns:
        The key, which nobody can find out again.

    Raises:
        Refused: the entry is not the console's, or the device does not push.
        KafkaUnavailable: Kafka does not answer; the former key may be good or not.
    """
    device = find(context, actor, device_id)
    check_is_ours(context, device_id)
    if device.mode != "push" or device.via is not None:
        raise Refused(_("%(device)s does not send by itself, so it has no key."), device=device_id)
    key = new_token()

    def changed(_about: About, fields: Fields) -> Fields:
        return {**fields, "token_sha256": hash_token(key)}

    await _edit(context, actor, "device.token", device_id, changed)
    return key


async def remove(context: Context, actor: Actor, device_id: str) -> None:
    """Remove a device from the fleet. What it sent stays. Takes and raises what `change` does."""
    find(context, actor, device_id)
    check_is_ours(context, device_id)
    async with changing(context, actor, "device.remove", {"device": device_id}):
        await fleet_changes.remove(context.log, [("device", device_id)], CONSOLE, actor.name)


def _changed(fields: Fields, cells: Mapping[str, str]) -> dict[str, Any]:
    unknown = cells.keys() - set(COLUMNS)
    if unknown:
        raise Refused(_("There is no field %(name)s."), name=min(unknown))
    try:
        return fleet_changes.changed_fields("device", fields, {name: each.strip() for name, each in cells.items()})
    except ConfigurationError as error:
        raise Refused(_("It cannot be so: %(why)s"), why=in_words(error)) from error


async def _edit(
    context: Context,
    actor: Actor,
    act: Literal["device.change", "device.token"],
    device_id: str,
    changed: Callable[[About, Fields], Fields],
    **about: str,
) -> None:
    async with changing(context, actor, act, {"device": device_id, **about}) as ending:
        found = await edit(context.log, [("device", device_id)], CONSOLE, actor.name, changed)
        # A key never stands there, its hash does not help anybody either.
        names = [name for change in found for name, _before, _after in change.fields]
        ending.result = ", ".join(names) or NOTHING
