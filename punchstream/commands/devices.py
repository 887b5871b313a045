"""The `devices` commands: the fleet as it is understood, what it says of itself, and who wants to join it."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from msgspec import structs

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.fleet import Device, hash_token, new_token
from attendance.records.terminals import Knock, PendingDevice
from attendance.registry import Registry
from attendance.settings import CommonSettings
from operations.log import Skipped
from producers.knocks import NO_TERMINALS, SENDERS
from punchstream.commands.arguments import kafka_log, known_fleet, who
from punchstream.commands.device_list import list_devices
from punchstream.output import AsCsv, AsJson, print_csv, print_json, print_whole, say, say_skipped, show

app = typer.Typer(help="The fleet.", no_args_is_help=True)
app.command("list")(list_devices)

DeviceId = Annotated[str, typer.Argument(metavar="DEVICE", help="The device_id in the fleet file.")]
PENDING_SHOWN: Final = 50
OTHERS_SHOWN: Final = 20  # of what is most likely no terminal: whatever scans a network is soon all over the screen


@app.command()
def token() -> None:
    """Make a token for a device: the terminal gets the token, the fleet file its hash."""
    made = new_token()
    say(f"token         {made}")
    say(f"token_sha256  {hash_token(made)}")


@app.command()
def probe(
    host: Annotated[str, typer.Argument(help="Name or IP address of a terminal, or of a vendor's server.")],
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Find out which protocols answer at an address. Changes nothing there, and sends no credential."""
    from producers.probe import probe as look

    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", host):
        raise ConfigurationError(f"HOST: {host!r} is neither a name nor an IP address")
    found = asyncio.run(look(host))
    if not found and not as_json:
        say(f"Nothing that is known answers at {host}.", err=True)
    else:
        show([asdict(finding) for finding in found], as_json=as_json, as_csv=as_csv)
    if not found:
        raise typer.Exit(1)


@app.command("test")
def ask(device_id: DeviceId, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Ask a device who it is, as the pull stage would, and show what it last said. Exit status 1 where that fails."""
    from operations.devices import check_device

    device, skipped = _device(device_id), Skipped()
    checks = asyncio.run(check_device(kafka_log("devices"), device, skipped))
    say_skipped(skipped)
    show([asdict(each) for each in checks], as_json=as_json, as_csv=as_csv)
    if not all(each.ok for each in checks):
        raise typer.Exit(1)


@app.command()
def configure(
    device_id: DeviceId,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
) -> None:
    """Show which settings of a terminal are not as they should be, and write those after you agreed.

    Exit status 1 where some are still not as they should be.
    """
    from operations import device_settings

    device = _device(device_id)
    settings = asyncio.run(device_settings.read_settings(device))
    names = [each.name for each in settings if each.differs]
    show([structs.asdict(each) for each in settings], as_json=False)
    if not names:
        say("Nothing is to be written.", err=True)
        return
    if not yes:
        typer.confirm(f"Write {', '.join(names)} to {device_id}?", abort=True, err=True)
    settings = asyncio.run(device_settings.configure(device, names))
    show([structs.asdict(each) for each in settings], as_json=False)
    if any(each.differs for each in settings):
        raise typer.Exit(1)


@app.command()
def pending(
    *,
    search: Annotated[
        str | None, typer.Option(help="Only those with this in their serial number, an address, a fact or a path.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of each kind.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the terminals that ask to be let in, and whatever else push turned away in the last seven days.

    The serial number of the former is in no entry, or came from another address than its entry has; they keep their
    punches. The likeliest terminal stands first: one that comes again and again, from an address of its own. The latter
    came to a path that is not served, were refused, or spoke no HTTP.
    """
    from operations.devices import pending_devices

    skipped = Skipped()
    fleet = known_fleet()
    terminals, knocks = asyncio.run(pending_devices(kafka_log("devices"), fleet, skipped))
    say_skipped(skipped)
    waiting = [each for each in map(_pending_row, terminals) if _has(each, search)]
    turned_away = [each for each in knocks if _has(_knock_row(each), search)]
    if as_json or as_csv:
        rows = [*waiting[:limit], *map(_knock_row, turned_away[:limit])]
        print_json(rows) if as_json else _print_csv(rows)
        return
    shown = waiting[: limit or PENDING_SHOWN]
    if not shown:
        say("No terminal waits.")
    cells = (
        (
            each["serial"],
            (each["adapter"], *(each["clients"] or [each["client"]])),
            (each["first_seen"], each["last_seen"]),
            (each["requests"], each["visits"]),
            (*_moved(each), *(f"{name}: {fact}" for name, fact in each["facts"].items())),
        )
        for each in shown
    )
    print_whole(("Serial", "Adapter, address", "First, last seen (UTC)", "Requests, visits", "Facts"), cells)
    if len(waiting) > len(shown):
        say(f"And {len(waiting) - len(shown):,} less likely ones, which --limit, --search, --json and --csv show.")
    _show_knocks(turned_away[:limit])


def _moved(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['device_id']} may not push from there"] if row["device_id"] else []


def _has(row: Mapping[str, Any], text: str | None) -> bool:
    return text is None or text.casefold() in " ".join(map(str, row.values())).casefold()


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_csv(names, ([row.get(name) for name in names] for row in rows))


def _pending_row(device: PendingDevice) -> dict[str, Any]:
    cause = "unknown_serial" if device.device_id is None else "wrong_address"
    return {**structs.asdict(device), "cause": cause}


def _knock_row(knock: Knock) -> dict[str, Any]:
    return {"adapter": None, "serial": None, "facts": {}, **structs.asdict(knock)}


def _show_knocks(knocks: Sequence[Knock]) -> None:
    terminals = [each for each in knocks if each.sender not in NO_TERMINALS]
    others = [each for each in knocks if each.sender in NO_TERMINALS]
    if knocks:
        say("\nTurned away:")
    cells = (
        (
            each.client,
            SENDERS.get(each.sender, each.sender),
            (each.cause, each.status or ""),
            (each.first_seen, each.last_seen),
            each.requests,
            (*filter(None, (f"{each.method} {each.path}", each.user_agent, each.device_id)),),
        )
        for each in [*terminals, *others[-OTHERS_SHOWN:]]
    )
    names = (
        "Address",
        "Most likely",
        "Cause, answer",
        "First, last seen (UTC)",
        "Requests",
        "Path, user agent, device",
    )
    print_whole(names, cells)
    if len(others) > OTHERS_SHOWN:
        say(f"And {len(others) - OTHERS_SHOWN:,} earlier ones, of no terminal, which --json shows.")


@app.command()
def approve(
    serials: Annotated[
        list[str], typer.Argument(metavar="SERIAL…", help="As `punchstream devices pending` shows them.")
    ],
    *,
    device_id: Annotated[str | None, typer.Option(help="The device_id that it gets; else its serial number.")] = None,
    site: Annotated[str | None, typer.Option(help="Where it stands.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA zone of its clock, such as Asia/Riyadh.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Its adapter, where several ask with this serial number or none has asked yet.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            help="From where it may push: an address, a network such as 10.2.0.0/16, or `heard` for where it was heard"
            " from. May be given more than once. From anywhere where it is left out."
        ),
    ] = None,
) -> None:
    """Let terminals in, all or none: write their entries to the fleet topic, which push takes up by itself.

    If an entry has the serial number, and the terminal pushes from another address now, `--address` approves that.
    """
    from operations import approvals
    from operations.fleet import learn_fleet

    skipped = Skipped()
    registry = Registry.load(CommonSettings.load())

    async def approved() -> list[str]:
        log = kafka_log("devices")
        try:
            await learn_fleet(log, registry, skipped)
        except KafkaUnavailable:
            if not registry.has_file:
                raise
        approval = approvals.Approval(device_id, site, timezone, address or ())
        return await approvals.approve(
            log, registry, skipped, serials=serials, adapter=adapter, approval=approval, by=who()
        )

    let_in = asyncio.run(approved())
    say_skipped(skipped)
    for each in let_in:
        say(f"{each} is let in; push takes it up within two seconds or so.")


@app.command()
def backfill(
    device_id: DeviceId,
    *,
    since: Annotated[datetime, typer.Option(help="From when, by the terminal's own clock.")],
    until: Annotated[datetime | None, typer.Option(help="Until when; now where it is left out.")] = None,
) -> None:
    """Have a ZKTeco terminal that pushes send the punches of a time again. It does so when it next asks."""
    from operations.devices import order_backfill

    skipped = Skipped()
    device = _device(device_id)
    order = asyncio.run(order_backfill(kafka_log("devices"), device, since, until, skipped))
    say_skipped(skipped)
    say(f"{order.command} waits for {device_id} (command {order.id}).")


@app.command("reset-stamps")
def reset_stamps(
    device_id: DeviceId,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(help="From when, by the terminal's own clock; all that it has where it is left out."),
    ] = None,
) -> None:
    """Have a ZKTeco terminal that pushes forget how far it is, and send what it has again when it next connects.

    For a terminal in whose name somebody else has sent. What Kafka has counts once.
    """
    from operations.devices import reset_stamps as reset

    skipped = Skipped()
    device = _device(device_id)
    order = asyncio.run(reset(kafka_log("devices"), device, since, skipped))
    say_skipped(skipped)
    say(f"The stamp of {device_id} is reset, and {order.command} waits for it (command {order.id}).")


@app.command()
def verify(
    device_id: DeviceId,
    *,
    since: Annotated[datetime, typer.Option(help="From when, by the terminal's own clock.")],
    until: Annotated[datetime | None, typer.Option(help="Until when; its last midnight where it is left out.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask anew, though it has counted that time before.")] = False,
) -> None:
    """Have a ZKTeco terminal that pushes count its records of a time. Run it again once it has: it compares with Kafka.

    Exit status 1 if Kafka has fewer punches than the terminal has records, or the terminal has not answered.
    """
    from operations.verification import verify as verified

    skipped = Skipped()
    device = _device(device_id)
    found = asyncio.run(verified(kafka_log("devices"), device, since, until, skipped, again=again))
    say_skipped(skipped)
    if found.counted is None or found.punches is None:
        answer = "waits" if found.order.returned is None else f"returned {found.order.returned}, which is no count,"
        say(f"{found.order.command} {answer} for {device_id} (command {found.order.id}).")
        raise typer.Exit(1)
    say(f"{device_id} has {found.counted} records of that time, and Kafka has {found.punches} punches.")
    if found.punches < found.counted:
        say("Records of nobody, refusals and the same punch twice count as records too; devices backfill asks again.")
        raise typer.Exit(1)


@app.command()
def commands(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show what terminals were told to do, and what they answered."""
    from operations.devices import orders

    skipped = Skipped()
    rows = [structs.asdict(order) for order in asyncio.run(orders(kafka_log("devices"), skipped))]
    say_skipped(skipped)
    show(rows, as_json=as_json, as_csv=as_csv)


def _device(device_id: str) -> Device:
    device = known_fleet().get(device_id)
    if device is None:
        raise ConfigurationError(f"DEVICE: {device_id} is not in the fleet")
    return device
