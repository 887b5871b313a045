"""`punchstream users map`, `unmap`, `ignore`, `stop-ignoring` and `ignored`: what a person decides about a number."""

import asyncio
from dataclasses import asdict, fields
from typing import Annotated, Final

import typer

from attendance.times import format_seconds
from attendance.user_map import UserMap
from operations.log import Log, Skipped
from operations.user_decisions import Ignored, Number, ignore_number, ignored, map_number, stop_ignoring, unmap_number
from operations.users import read_user_map
from operations.waiting import WaitingPunches, Which
from punchstream.commands.arguments import kafka_log, known_devices, who
from punchstream.output import AsCsv, AsJson, counted, print_records, print_whole, say, say_skipped

_IGNORED: Final = tuple(each.name for each in fields(Ignored))

TheUser = Annotated[str, typer.Argument(metavar="USER", help="The device user id.")]
AtSite = Annotated[str | None, typer.Option("--site", help="At every device of this site.")]
OnDevice = Annotated[str | None, typer.Option("--device", help="On this device alone.")]
TheNote = Annotated[str, typer.Option(help="Why. It is kept.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to those of `punchstream users`."""
    app.command("map")(map_user)
    app.command("unmap")(unmap)
    app.command("ignore")(ignore)
    app.command("stop-ignoring")(stop)
    app.command("ignored")(list_ignored)


def map_user(
    user: TheUser,
    *,
    employee: Annotated[str, typer.Option(help="Whose it is: the name of the employee in ERPNext.")],
    site: AtSite = None,
    device: OnDevice = None,
    note: TheNote = "",
) -> None:
    """Say whose number a device user id is. It counts where neither ERPNext nor a file names anybody for it.

    The punches that wait then flow.
    """
    number = _number(user, site, device)
    log = kafka_log("users")
    asyncio.run(map_number(log, _user_map(log), number, employee, by=who(), note=note))
    say(f"Number {user} of {number.place} is {employee} now.")


def unmap(user: TheUser, *, site: AtSite = None, device: OnDevice = None) -> None:
    """Take back what `users map` said. Punches that come from then on wait again; what was delivered stays."""
    number = _number(user, site, device, taking_back=True)
    log = kafka_log("users")
    entry = asyncio.run(unmap_number(log, _user_map(log), number))
    say(f"Number {user} of {number.place} is {entry.employee} no more.")


def ignore(
    user: TheUser,
    *,
    note: TheNote,
    site: AtSite = None,
    device: OnDevice = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ignore nothing, and count what would be.")] = False,
) -> None:
    """Have nothing come of the punches of a device user id, such as a visitor's: of those that wait, and of later ones.

    They become dead letters of the reason user_ignored, which count as discarded. `users stop-ignoring` sends them
    again.
    """
    number = _number(user, site, device)
    log = kafka_log("users")
    users, skipped = _user_map(log), Skipped()
    with WaitingPunches() as waiting:
        asyncio.run(waiting.fill(log, skipped))
        say_skipped(skipped)
        punches, _ = waiting.count(Which(device, None if device else site, user))
    if not dry_run:
        asyncio.run(ignore_number(log, users, number, by=who(), note=note))
    would_be = "would be ignored" if dry_run else "is ignored now"
    wait = "waits" if punches == 1 else "wait"
    say(f"Number {user} of {number.place} {would_be}; {counted(punches, 'punch', 'punches')} of it {wait}.")


def stop(user: TheUser, *, site: AtSite = None, device: OnDevice = None) -> None:
    """Take back `users ignore`: what was ignored is sent again, and is delivered or waits."""
    number = _number(user, site, device, taking_back=True)
    log = kafka_log("users")
    count = asyncio.run(stop_ignoring(log, _user_map(log), number, by=who()))
    say(f"Number {user} of {number.place} is ignored no more; {counted(count, 'punch', 'punches')} sent again.")


def list_ignored(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Who is ignored: since when, by whom, why, and how many punches.

    If a number is ignored no more and punches of it are left, `users stop-ignoring` sends them again.
    """
    log, skipped = kafka_log("users"), Skipped()
    rows = asyncio.run(ignored(log, _user_map(log), skipped))
    say_skipped(skipped)
    if as_json or as_csv:
        described = [asdict(row) | {"at": format_seconds(row.at)} for row in rows]
        print_records(_IGNORED, described, as_json=as_json, as_csv=as_csv)
        return
    cells = [
        (
            row.device_user_id,
            row.scope,
            format_seconds(row.at),
            row.by if row.in_force else "nobody any more",
            row.punches,
            row.note,
        )
        for row in rows
    ]
    print_whole(("Device user", "Scope", "At (UTC)", "By", "Punches", "Note"), cells)
    say(counted(len(rows), "number"))


def _number(user: str, site: str | None, device: str | None, *, taking_back: bool = False) -> Number:
    """The number that is meant. A device is of the site that the fleet says.

    What is taken back may be of a place that the fleet has not any more.
    """
    if (site is None) == (device is None):
        raise typer.BadParameter("give one of them", param_hint="--site, --device")
    sites = {each.device_id: each.site for each in known_devices()}
    if taking_back:
        return Number(user, site or sites.get(device or ""), device)
    if device is not None:
        if device not in sites:
            raise typer.BadParameter(f"the fleet has no device {device}", param_hint="--device")
        return Number(user, sites[device], device)
    if site not in sites.values():
        raise typer.BadParameter(f"no device of the fleet is of site {site}", param_hint="--site")
    return Number(user, site)


def _user_map(log: Log) -> UserMap:
    skipped = Skipped()
    users = asyncio.run(read_user_map(log, skipped))
    say_skipped(skipped)
    return users
