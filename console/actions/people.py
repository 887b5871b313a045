"""Numbers: whose they are, and which are ignored."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from attendance.records.dead_letter_action import LetterId
from attendance.records.user_map import IgnoredUser, UserMapping
from console.acting import Refused, recorded
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from ledger.numbers import ignored_letters
from operations import user_decisions
from operations.user_decisions import MOST_NOTE, CannotDecide, Number, Why

REFUSALS: Final[Mapping[Why, str]] = {
    Why.NO_NOTE: _("Say why nothing is to come of this number."),
    Why.LONG_NOTE: _("The note is too long: %(most)s characters at most."),
    Why.UNKNOWN_EMPLOYEE: _("ERPNext has no employee %(about)s, or Punchstream has not read them yet."),
    Why.LISTED: _("ERPNext or a file says that this number is %(about)s, and that counts. Change it there."),
    Why.MAPPED: _("This number is %(about)s by hand. Take that back first."),
    Why.IGNORED: _("This number is ignored. Take that back first."),
    Why.NOT_MAPPED: _("Nobody said by hand whose number this is, or it is taken back already."),
    Why.NOT_IGNORED: _("This number is not ignored, or that is taken back already."),
}
"""In words of the pages. `about` is the employee that stands against it."""


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except CannotDecide as error:
        raise Refused(REFUSALS[error.why], about=error.about, most=MOST_NOTE) from error


def sites_of(context: Context) -> dict[str, str]:
    """The site of each device of the fleet.

    Args:
        context: Of the console.
    """
    return {each.device_id: each.site for each in context.registry}


def number_of(
    context: Context, actor: Actor, user: str, site: str, device: str | None, *, taking_back: bool = False
) -> Number:
    """The number that is meant, if the fleet has such a place, and the actor sees it.

    Args:
        context: Of the console.
        actor: Who asks.
        user: The device user.
        site: The site; it is not looked at where the fleet has the device.
        device: The device; None for every device of the site.
        taking_back: Whether something is taken back: who sees every site may do that where the fleet has no such place
            any more.

    Raises:
        Refused: it has not, or they do not.
    """
    sites = sites_of(context)
    found = sites.get(device) if device is not None else site if site in sites.values() else None
    if found is None and taking_back and actor.sees(None):
        return Number(user, site or None, device)
    if found is None or not actor.sees(found):
        raise Refused(_("The fleet has no such site or device, or you may not see it."))
    return Number(user, found, device)


def devices_of(context: Context, number: Number) -> list[str]:
    """The devices on which a number is meant.

    Args:
        context: Of the console.
        number: The number.
    """
    if number.device is not None:
        return [number.device]
    return [each.device_id for each in context.registry if each.site == number.site]


async def map_number(context: Context, actor: Actor, number: Number, employee: str, note: str) -> UserMapping:
    """Say whose number it is.

    Args:
        context: Of the console.
        actor: Who does it.
        number: The number.
        employee: Whose it is: their record in ERPNext.
        note: Why, where there is more to say.

    Raises:
        Refused: it cannot be.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    _check_known(context)
    with _in_words():
        async with recorded(context, actor, "number.map", {**_about(number), "employee": employee}, note or None):
            entry = await user_decisions.map_number(
                context.log, context.people.users, number, employee, by=actor.name, note=note
            )
    context.people.users.apply(entry.key, entry.encode())
    return entry


async def unmap_number(context: Context, actor: Actor, number: Number) -> None:
    """Take back what `map_number` said.

    Args:
        context: Of the console.
        actor: Who does it.
        number: The number, where it was said.

    Raises:
        Refused: nobody said so.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    _check_known(context)
    with _in_words():
        async with recorded(context, actor, "number.unmap", _about(number)):
            entry = await user_decisions.unmap_number(context.log, context.people.users, number)
    context.people.users.apply(entry.key, None)


async def ignore_number(context: Context, actor: Actor, number: Number, note: str) -> IgnoredUser:
    """Have nothing come of the punches of a number. Takes and raises what `map_number` does; the note is needed."""
    _check_known(context)
    with _in_words():
        async with recorded(context, actor, "number.ignore", _about(number), note or None):
            entry = await user_decisions.ignore_number(
                context.log, context.people.users, number, by=actor.name, note=note
            )
    context.people.users.apply(entry.key, entry.encode())
    return entry


async def stop_ignoring(context: Context, actor: Actor, number: Number) -> int:
    """Take back that a number is ignored, and send again what was ignored.

    Args:
        context: Of the console.
        actor: Who does it.
        number: The number, where it was said.

    Returns:
        How many punches were sent again, of those that the ledger has.

    Raises:
        Refused: it is not ignored.
        KafkaUnavailable: Kafka does not answer; a part may be done.
        LedgerUnavailable: the ledger does not answer; nothing is done.
    """
    _check_known(context)
    entry = context.people.users.ignored_in(number.scope, number.user)
    letters = await asyncio.to_thread(_letters, context, number)
    with _in_words():
        async with recorded(context, actor, "number.stop_ignoring", _about(number)) as ending:
            count = await user_decisions.stop_ignoring(
                context.log, context.people.users, number, by=actor.name, among=letters
            )
            ending.result = str(count)
    if entry is not None:
        context.people.users.apply(entry.key, None)
    return count


def _letters(context: Context, number: Number) -> list[LetterId]:
    with context.database.transaction() as connection:
        return ignored_letters(connection, number.user, devices_of(context, number))


def _check_known(context: Context) -> None:
    if not context.people.caught_up.is_set():
        raise Refused(_("The console has not read yet whose the numbers are. Try again in a minute."))


def _about(number: Number) -> dict[str, str]:
    where = {"site": number.site or ""} if number.device is None else {"device": number.device}
    return {"number": number.user, **where}
