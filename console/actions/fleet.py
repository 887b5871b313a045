"""What actions on devices share: which device is meant, whose entry it is, and reading back what is written."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.fleet_topic import CONSOLE, FILE, Written
from console.acting import Refused, recorded
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from console.words import SOURCES
from operations.activity import Act, Ending
from operations.fleet_plan import About

TAKEN_UP: Final = 3.0
"""Seconds for which an action waits until the console has read what it wrote."""
_LOOK: Final = 0.02  # seconds
NOTHING: Final = "0"
"""The result of an action that had nothing to change."""
_PLACES: Final = re.compile(r"(?m)^(?:(?:--[a-z-]+|[A-Z]{4,}|source [\w.:-]+): )+")
MOST: Final = 1_000
"""Devices of one action."""


def find(context: Context, actor: Actor, device_id: str) -> Device:
    """A device that somebody may see.

    Args:
        context: Of the console.
        actor: Who asks.
        device_id: Its id.

    Raises:
        Refused: there is none, or it is of a site that they do not see.
    """
    device = context.registry.get(device_id)
    if device is None or not actor.sees(device.site):
        raise Refused(_("The fleet has no device %(device)s."), device=device_id)
    return device


def find_all(context: Context, actor: Actor, device_ids: Sequence[str]) -> list[Device]:
    """The devices that are meant, each once.

    Args:
        context: Of the console.
        actor: Who asks.
        device_ids: Their ids.

    Raises:
        Refused: as `find` has it; or there is none, or too many.
    """
    if not device_ids:
        raise Refused(_("Choose at least one device."))
    if len(device_ids) > MOST:
        raise Refused(_("Choose at most %(most)s devices at a time."), most=MOST)
    return [find(context, actor, each) for each in dict.fromkeys(device_ids)]


def source_of(owned: Mapping[About, Written], device_id: str) -> str:
    """Whose the entry of a device is that the fleet has.

    Args:
        owned: What counts on the fleet topic.
        device_id: Its id.
    """
    owner = owned.get(("device", device_id))
    return FILE if owner is None else owner.entry.source


def check_is_ours(context: Context, device_id: str) -> None:
    """Refuse to change what somebody else wrote.

    Args:
        context: Of the console.
        device_id: Its id.

    Raises:
        Refused: the entry is not the console's.
    """
    source = source_of(context.registry.topic.owned(), device_id)
    if source != CONSOLE:
        if source in SOURCES:
            raise Refused(_THEIRS[source], device=device_id)
        raise Refused(_("%(device)s belongs to %(source)s, and is changed there."), device=device_id, source=source)


_THEIRS: Final[Mapping[str, str]] = {
    FILE: _("%(device)s belongs to the fleet files, and is changed there."),
    "command": _("%(device)s belongs to the command line (punchstream fleet), and is changed there."),
    "approval": _("%(device)s was let in by the command line (punchstream devices approve), and is changed there."),
    "erpnext": _("%(device)s belongs to ERPNext, and is changed there."),
}


def check_site(context: Context, actor: Actor, site: str) -> None:
    """Refuse a site that somebody does not see, or one that is another's name in other letters.

    Raises:
        Refused: they do not see it; or a known one differs in upper and lower case only, so it is meant.
    """
    if not actor.sees(site):
        raise Refused(_("You may not put devices at the site %(site)s."), site=site)
    known = {*context.registry.fleet.sites, *(device.site for device in context.registry)}
    if site in known:
        return
    for other in filter(actor.sees, known):
        if other.casefold() == site.casefold():
            raise Refused(_("There is a site %(site)s already. Write it the same way."), site=other)


@asynccontextmanager
async def changing(
    context: Context, actor: Actor, act: Act, about: Mapping[str, str], note: str | None = None
) -> AsyncIterator[Ending]:
    """Change the fleet: written down, refused in words, and read back before it ends.

    Takes what `recorded` takes.

    Raises:
        Refused: the fleet would be wrong, or somebody else was first.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    topic = context.registry.topic
    version = topic.version
    try:
        async with recorded(context, actor, act, about, note) as ending:
            yield ending
    except ConfigurationError as error:
        raise Refused(_("It cannot be so: %(why)s"), why=in_words(error)) from error
    if ending.result != NOTHING:
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_UP):
                while topic.version == version:  # noqa: ASYNC110 - whoever follows the topic says so by that number alone
                    await asyncio.sleep(_LOOK)
        await context.registry.refreshed()


def in_words(error: ConfigurationError) -> str:
    """What is wrong, without the options of the command line and the names of sources before it."""
    return _PLACES.sub("", str(error)).replace("\n", "; ")
