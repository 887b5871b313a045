"""`punchstream fleet add | set | disable | remove | export | tokens`: single entries of the fleet topic."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer
import yaml
from pydantic import ValidationError

from attendance.errors import ConfigurationError
from attendance.fleet import hash_token
from attendance.fleet_entries import NAMED_BY, GivenEntry
from operations.fleet import COMMAND, Change, Fields, Wanted, check_source, edit, fields_of, read_fleet, write
from punchstream.commands.arguments import kafka_log, who
from punchstream.output import AsCsv, AsJson, counted, print_records, say

Source = Annotated[str, typer.Option("--source", help="As whom: the source that has the entries, or gets them.")]
DeviceIds = Annotated[list[str], typer.Argument(metavar="DEVICE…", help="Their device_ids.")]
Given = Annotated[
    list[str], typer.Argument(metavar="FIELD=VALUE…", help="Such as `direction=in`, `options.tls=true`, `name=`.")
]


def add(
    device_id: Annotated[str, typer.Argument(metavar="DEVICE", help="Its device_id.")],
    given: Given,
    *,
    source: Source = COMMAND,
) -> None:
    """Add a device. Fields stand as in a table: `addresses` with spaces between, parts of options as `options.tls`."""
    fields = _changed({}, given)

    async def written() -> list[Change]:
        log = kafka_log("fleet")
        before = await read_fleet(log)
        if ("device", device_id) in before.owned():
            raise ConfigurationError(f"DEVICE: {device_id} is there already; `punchstream fleet set` changes it")
        return await write(log, Wanted(check_source(source), who(), {("device", device_id): fields}), before)

    _say(asyncio.run(written()))


def set_(
    device_id: Annotated[str, typer.Argument(metavar="DEVICE", help="Its device_id.")],
    given: Given,
    *,
    source: Source = COMMAND,
) -> None:
    """Change fields of a device. `FIELD=` without a value takes one away, so that its site or the default has it."""
    check_source(source)
    found = asyncio.run(
        edit(kafka_log("fleet"), ("device", device_id), source, who(), lambda fields: _changed(fields, given))
    )
    _say([found] if found else [])


def disable(
    devices: DeviceIds,
    *,
    source: Source = COMMAND,
    undo: Annotated[bool, typer.Option("--undo", help="Let them work again.")] = False,
) -> None:
    """Have devices not work: their tokens open nothing, and nobody asks them. They stay in the fleet."""
    log = kafka_log("fleet")

    def disabled(fields: Fields) -> Fields:
        return {**fields, "disabled": not undo}

    for device_id in devices:
        found = asyncio.run(edit(log, ("device", device_id), check_source(source), who(), disabled))
        _say([found] if found else [])


def remove(devices: DeviceIds, *, source: Source = COMMAND) -> None:
    """Remove devices from the fleet. What they sent stays."""

    async def written() -> list[Change]:
        log = kafka_log("fleet")
        before = await read_fleet(log)
        owned = before.owned()
        for device_id in devices:
            owner = owned.get(("device", device_id))
            if owner is None:
                raise ConfigurationError(f"{device_id}: the fleet topic has no such device")
            if owner.entry.source != source:
                raise ConfigurationError(f"{device_id}: it belongs to the source {owner.entry.source}")
        wanted = Wanted(check_source(source), who(), {("device", each): None for each in devices})
        return await write(log, wanted, before)

    _say(asyncio.run(written()))


def export(
    *, source: Annotated[str | None, typer.Option("--source", help="Only what this source wrote.")] = None
) -> None:
    """Print the fleet topic as a fleet file, which `punchstream fleet apply` reads."""
    owned = asyncio.run(read_fleet(kafka_log("fleet"))).owned()
    lists: dict[str, list[dict[str, Any]]] = {"sites": [], "devices": [], "shifts": []}
    for (kind, name), written in sorted(owned.items()):
        if source in (None, written.entry.source):
            lists[f"{kind}s"].append({NAMED_BY[kind]: name, **written.entry.fields})
    say(yaml.safe_dump({name: items for name, items in lists.items() if items or name == "devices"}, sort_keys=False))


def tokens(
    *,
    site: Annotated[str, typer.Option(help="Of which site.")],
    source: Source = COMMAND,
    renew: Annotated[bool, typer.Option("--renew", help="Also for devices that have a token, which ends.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Make a token for each device of a site that pushes and has none. They are shown once: only hashes are kept."""
    log = kafka_log("fleet")
    before = asyncio.run(read_fleet(log))
    of_site = [
        each.entry
        for (kind, _), each in before.owned().items()
        if kind == "device" and (each.entry.fields.get("site"), each.entry.fields.get("mode", "push")) == (site, "push")
    ]
    if not of_site:
        raise ConfigurationError(f"--site: no device of {site} on the fleet topic pushes")
    wanted = [each for each in of_site if renew or not each.fields.get("token_sha256")]
    made = {each.name: secrets.token_urlsafe(24) for each in wanted}
    entries: dict[Any, Fields] = {
        ("device", each.name): {**each.fields, "token_sha256": hash_token(made[each.name])} for each in wanted
    }
    try:
        asyncio.run(write(log, Wanted(check_source(source), who(), entries), before))
    except ConfigurationError:
        made = {}
        raise
    finally:
        # Also where Kafka did not say whether it has them: it may.
        rows = [{"device_id": name, "token": token} for name, token in made.items()]
        print_records(("device_id", "token"), rows, as_json=as_json, as_csv=as_csv)


def _changed(fields: Fields, given: Sequence[str]) -> dict[str, Any]:
    from operations.fleet_sources import fields_of_cells

    cells: dict[str, str] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not name or not sign:
            raise ConfigurationError(f"FIELD=VALUE: {each!r} has no field or no `=`")
        cells[name] = value
    known = {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}
    for name, value in cells.items():
        field, _, part = name.partition(".")
        if not value:
            (known.get(field, {}) if part else known).pop(part or field, None)
    for name, value in fields_of_cells({name: value for name, value in cells.items() if value}).items():
        known[name] = {**known.get(name, {}), **value} if isinstance(value, dict) else value
    try:
        return fields_of(GivenEntry("device", {"device_id": "any", **known}, "", ""))[1]
    except ValidationError:
        return known  # what writes it says what is wrong


def _say(found: Sequence[Change]) -> None:
    for each in found:
        say(str(each))
    say(f"{counted(len(found), 'change')} written.")


COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "add": add,
    "set": set_,
    "disable": disable,
    "remove": remove,
    "export": export,
    "tokens": tokens,
}
"""By the words behind `punchstream fleet`."""
