"""The `devices` commands: the fleet as it is understood, what it says of itself, and who wants to join it."""

import asyncio
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml
from msgspec import structs

from attendance.errors import ConfigurationError, PunchstreamError
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.device_status import DeviceStatus, read_status
from attendance.registry import Device, Registry, hash_token, load
from attendance.settings import CommonSettings, KafkaSettings, PullSettings
from attendance.times import format_seconds, now, to_wall_clock
from punchstream.output import AsJson, show

if TYPE_CHECKING:
    from producers.terminals import Terminals

app = typer.Typer(help="The fleet.", no_args_is_help=True)

DeviceId = Annotated[str, typer.Argument(metavar="DEVICE", help="The device_id in the registry file.")]
SHOWN: Final = ("device_id", "name", "site", "timezone", "mode", "adapter", "direction", "checkin_time", "disabled")


@app.command("list")
def list_(
    *,
    status: Annotated[bool, typer.Option("--status", help="Show what each device last said of itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the registry file as it is understood."""
    fleet = Registry(CommonSettings.load().punchstream_devices)
    if status:
        show(asyncio.run(statuses(KafkaSettings.load(), fleet)), as_json=as_json)
    else:
        show([{name: getattr(device, name) for name in SHOWN} for device in fleet], as_json=as_json)


async def statuses(kafka: KafkaSettings, fleet: Iterable[Device]) -> list[dict[str, Any]]:
    """A row for each device, with what its newest status says; nothing where it was never heard.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    records = await snapshot(kafka, kafka.topics["device_status"], kafka.client_id("devices"))
    newest = {status.device_id: status for record in records if (status := read_status(record))}
    return [_row(device, newest.get(device.device_id)) for device in fleet]


def _row(device: Device, status: DeviceStatus | None) -> dict[str, Any]:
    until = status.complete_until if status else None
    details = status.details if status else {}
    return {
        "device_id": device.device_id,
        "site": device.site,
        "disabled": device.disabled,
        "heard_at": format_seconds(status.heard_at) if status else None,
        "last_event": format_seconds(status.last_event) if status and status.last_event else None,
        "pending": status.pending if status else None,
        "complete_until": format_seconds(until) if until else None,
        "clock_skew": status.clock_skew if status else None,
        "details": ", ".join(f"{name}: {value}" for name, value in details.items()) or None,
    }


@app.command()
def token() -> None:
    """Make a token for a device: the terminal gets the token, the registry file its hash."""
    made = secrets.token_urlsafe(24)
    typer.echo(f"token         {made}")
    typer.echo(f"token_sha256  {hash_token(made)}")


@app.command()
def probe(
    host: Annotated[str, typer.Argument(help="Name or IP address of a terminal, or of a vendor's server.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Find out which protocols answer at an address. Changes nothing there, and sends no credential."""
    from producers.probe import probe as look

    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", host):
        raise ConfigurationError(f"HOST: {host!r} is neither a name nor an IP address")
    found = asyncio.run(look(host))
    if not found and not as_json:
        typer.echo(f"Nothing that is known answers at {host}.", err=True)
    else:
        show([asdict(finding) for finding in found], as_json=as_json)
    if not found:
        raise typer.Exit(1)


@app.command("test")
def ask(device_id: DeviceId, *, as_json: AsJson = False) -> None:
    """Ask a device who it is, as the pull stage would, and show what it last said. Exit status 1 where that fails."""
    device = _device(device_id)
    checks = list(asyncio.run(_checks(device)))
    show([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in checks], as_json=as_json)
    if not all(ok for _, ok, _ in checks):
        raise typer.Exit(1)


async def _checks(device: Device) -> list[tuple[str, bool, str]]:
    from producers.devices.common.http import create_client
    from producers.devices.contract import Tools
    from producers.pull.sources import Adapters, secret, sources

    checks = [("entry", not device.disabled, f"{device.mode}, adapter {device.adapter}")]
    if sources([device]):
        settings = PullSettings.load()
        async with create_client(
            connect_seconds=settings.connect_timeout,
            answer_seconds=settings.answer_timeout,
            cafile=settings.ssl_cafile,
        ) as http:
            try:
                adapter = Adapters(Tools(http, secret, ())).of(device)
                probed = await asyncio.wait_for(adapter.probe(device), settings.page_timeout)
            except (PunchstreamError, TimeoutError) as error:
                checks.append(("answer", False, str(error) or f"none within {settings.page_timeout:g} s"))
            else:
                details = ", ".join(f"{name}: {value}" for name, value in probed.heard.details.items())
                checks.append(("answer", True, details or "it answers"))
                same = device.serial is None or probed.serial is None or device.serial == probed.serial
                checks.append(("serial", same, probed.serial or "it does not tell"))
                if probed.heard.device_time is not None:
                    skew = round((probed.heard.device_time - now()).total_seconds())
                    checks.append(("clock", abs(skew) <= 60, f"{skew} s ahead"))
    try:
        [row] = await statuses(KafkaSettings.load(), [device])
    except PunchstreamError as error:
        return [*checks, ("last heard", False, str(error))]
    return [*checks, ("last heard", row["heard_at"] is not None, str(row["heard_at"] or "never"))]


@app.command()
def pending(*, as_json: AsJson = False) -> None:
    """Show the terminals that ask to be let in: their serial number is in no entry, and they keep their punches."""
    terminals = asyncio.run(_terminals(KafkaSettings.load()))
    known = {(device.adapter, device.serial) for device in Registry(CommonSettings.load().punchstream_devices)}
    rows = [structs.asdict(each) for each in terminals.pending() if (each.adapter, each.serial) not in known]
    show(rows, as_json=as_json)


@app.command()
def approve(
    serial: Annotated[str, typer.Argument(help="As `punchstream devices pending` shows it.")],
    *,
    device_id: Annotated[str, typer.Option(help="The device_id that it gets.")],
    site: Annotated[str, typer.Option(help="Where it stands.")],
    timezone: Annotated[str, typer.Option(help="IANA zone of its clock, such as Asia/Riyadh.")],
    adapter: Annotated[
        str | None, typer.Option(help="Its adapter, where several ask with this serial number or none has asked yet.")
    ] = None,
) -> None:
    """Let a terminal in: add its entry to the registry file, which push takes up by itself."""
    from producers.devices import PUSH_ADAPTERS
    from producers.terminals import approved_record

    if adapter is not None and adapter not in PUSH_ADAPTERS:
        raise ConfigurationError(f"--adapter: {adapter!r} is none of {', '.join(sorted(PUSH_ADAPTERS))}")
    kafka = KafkaSettings.load()
    terminals = asyncio.run(_terminals(kafka))
    found = [each for each in terminals.pending() if each.serial == serial and adapter in (None, each.adapter)]
    if adapter is None and len(found) != 1:
        raise ConfigurationError(
            f"SERIAL: {len(found) or 'no'} terminals with {serial} ask to be let in; --adapter says which it is"
        )
    entry = {
        "device_id": device_id,
        "site": site,
        "timezone": timezone,
        "mode": "push",
        "adapter": adapter or found[0].adapter,
        "serial": serial,
    }
    add_entry(CommonSettings.load().punchstream_devices, entry)
    for device in found:
        asyncio.run(_send(kafka, approved_record(kafka.topics["terminals"], device)))
    typer.echo(f"{device_id} is let in; push takes it up within a second or so.")


def add_entry(path: Path, entry: dict[str, Any]) -> None:
    """Add a device to a registry file, which keeps its comments. It is the old or the new file at any moment.

    Raises:
        ConfigurationError: the file would be wrong, or its list of devices is not its last part; it is unchanged.
    """
    path = path.resolve()  # a link stays one
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    block = yaml.safe_dump([entry], sort_keys=False)
    ends_in_devices = re.search(r"(?m)^(devices|shifts):", before)
    if ends_in_devices:
        last = re.findall(r"(?m)^(devices|shifts):", before)[-1]
        if last != "devices":
            raise ConfigurationError(f"{path}: put `devices` behind `shifts`, or add the entry by hand:\n{block}")
        indent = re.search(r"(?m)^devices:\s*\n(?:\s*#.*\n)*( *)- ", before)
        block = "".join(f"{indent[1] if indent else '  '}{line}\n" for line in block.splitlines())
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(before + ("" if not before or before.endswith("\n") else "\n") + block, encoding="utf-8")
        load(new)
        if path.exists():
            new.chmod(path.stat().st_mode)
        new.replace(path)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace(str(new), str(path))) from error
    finally:
        new.unlink(missing_ok=True)


@app.command()
def backfill(
    device_id: DeviceId,
    *,
    since: Annotated[datetime, typer.Option(help="From when, by the terminal's own clock.")],
    until: Annotated[datetime | None, typer.Option(help="Until when; now where it is left out.")] = None,
) -> None:
    """Have a ZKTeco terminal that pushes send the punches of a time again. It does so when it next asks."""
    from producers.devices.zkteco import adms as zkteco_adms
    from producers.terminals import new_order, order_record

    device = _device(device_id)
    if device.adapter != zkteco_adms.NAME:
        raise ConfigurationError(
            f"DEVICE: {device_id} has adapter {device.adapter}, and only {zkteco_adms.NAME} is told"
        )
    end = until or to_wall_clock(now(), device.timezone)
    if not since < end:
        raise ConfigurationError("--since: must be before --until")
    kafka = KafkaSettings.load()
    order = new_order(device_id, zkteco_adms.backfill(since, end))
    asyncio.run(_send(kafka, order_record(kafka.topics["terminals"], order)))
    typer.echo(f"{order.command} waits for {device_id} (command {order.id}).")


@app.command()
def commands(*, as_json: AsJson = False) -> None:
    """Show what terminals were told to do, and what they answered."""
    show([structs.asdict(order) for order in asyncio.run(_terminals(KafkaSettings.load())).orders()], as_json=as_json)


def _device(device_id: str) -> Device:
    device = Registry(CommonSettings.load().punchstream_devices).get(device_id)
    if device is None:
        raise ConfigurationError(f"DEVICE: {device_id} is not in the registry file")
    return device


async def _terminals(kafka: KafkaSettings) -> "Terminals":
    from producers.terminals import Terminals

    async def refuse(_record: OutRecord) -> None:
        raise AssertionError("a view that only reads")

    terminals = Terminals(kafka.topics["terminals"], refuse)
    for record in await snapshot(kafka, kafka.topics["terminals"], kafka.client_id("devices")):
        terminals.apply(record)
    return terminals


async def _send(kafka: KafkaSettings, record: OutRecord) -> None:
    producer = Producer(kafka, kafka.client_id("devices"))
    try:
        await producer.send(record)
    finally:
        await producer.stop()
