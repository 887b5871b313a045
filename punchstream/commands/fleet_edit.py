"""`punchstream fleet add | set | disable | pause | resume | remove | export | tokens`: single devices and entries."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from attendance.errors import ConfigurationError
from attendance.fleet import hash_token, new_token
from attendance.fleet_entries import NAMED_BY
from attendance.fleet_topic import COMMAND
from attendance.private_files import new_private, write_private
from attendance.records.fleet import Kind
from attendance.times import now
from operations import fleet_changes
from operations.fleet import edit, read_fleet
from operations.fleet_plan import About, Fields, check_writer
from punchstream.commands.arguments import kafka_log, known_fleet, who
from punchstream.commands.fleet_changes import Name, Names, OfKind, print_changes
from punchstream.output import AsCsv, AsJson, counted, csv_text, print_records, say

Source = Annotated[str, typer.Option("--source", help="As whom: the source that has the entries, or gets them.")]
Given = Annotated[
    list[str], typer.Argument(metavar="FIELD=VALUE…", help="Such as `direction=in`, `options.tls=true`, `name=`.")
]
Devices = Annotated[list[str], typer.Argument(metavar="DEVICE…", help="Their device_ids.")]
TOKENS: Final = ("device_id", "token")


def add(
    name: Name,
    given: Given,
    *,
    kind: OfKind = "device",
    source: Source = COMMAND,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Add an entry. Fields stand as in a table: lists with spaces between, parts of options as `options.tls`."""
    fields = _changed(kind, {}, given)
    check_writer(source)

    added = asyncio.run(fleet_changes.add(kafka_log("fleet"), (kind, name), fields, source, who()))
    print_changes(added, source, as_json=as_json, as_csv=as_csv)


def set_(
    name: Name,
    given: Given,
    *,
    kind: OfKind = "device",
    source: Source = COMMAND,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Change fields of an entry. `FIELD=` without a value takes one away, so that its site or the default has it."""
    check_writer(source)

    def changed(_: About, fields: Fields) -> Fields:
        return _changed(kind, fields, given)

    found = asyncio.run(edit(kafka_log("fleet"), [(kind, name)], source, who(), changed))
    print_changes(found, source, as_json=as_json, as_csv=as_csv)


def disable(
    names: Devices,
    *,
    source: Source = COMMAND,
    undo: Annotated[bool, typer.Option("--undo", help="Let them work again.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Have devices not work: their tokens open nothing, and nobody asks them. They stay in the fleet."""
    check_writer(source)

    def disabled(_: About, fields: Fields) -> Fields:
        return {**fields, "disabled": not undo}

    found = asyncio.run(edit(kafka_log("fleet"), [("device", name) for name in names], source, who(), disabled))
    print_changes(found, source, as_json=as_json, as_csv=as_csv)


def pause(
    names: Devices,
    *,
    why: Annotated[str, typer.Option(help="Why, for whoever looks at it later.")],
) -> None:
    """Take nothing from devices for now, whoever wrote their entries. They keep their punches until they are resumed.

    Pull does not ask them, and push answers "later". Shifts wait for them.
    """
    from operations.pauses import pause as paused

    fleet = known_fleet()
    new = asyncio.run(paused(kafka_log("fleet"), fleet, names, by=who(), why=why, at=now()))
    say(f"{counted(len(new), 'device')} paused; push and pull take it up within two seconds or so.")


def resume(names: Devices) -> None:
    """Take punches from devices again that were paused."""
    from operations.pauses import resume as resumed

    ended = asyncio.run(resumed(kafka_log("fleet"), names))
    say(f"{counted(len(ended), 'pause')} ended; push and pull take it up within two seconds or so.")


def remove(
    names: Names,
    *,
    kind: OfKind = "device",
    source: Source = COMMAND,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Remove entries from the fleet. What devices sent stays. A site stays as long as devices name it."""
    check_writer(source)

    removed = asyncio.run(fleet_changes.remove(kafka_log("fleet"), [(kind, name) for name in names], source, who()))
    print_changes(removed, source, as_json=as_json, as_csv=as_csv)


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
    output: Annotated[
        Path | None,
        typer.Option(help="A new CSV file for the tokens, which only its owner may read."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Make a token for each device of a site that pushes and has none. They are shown once: only hashes are kept."""
    check_writer(source)
    log = kafka_log("fleet")
    of_site = [
        each.entry
        for (kind, _), each in asyncio.run(read_fleet(log)).owned().items()
        if kind == "device" and (each.entry.fields.get("site"), each.entry.fields.get("mode", "push")) == (site, "push")
    ]
    if not of_site:
        raise ConfigurationError(f"--site: no device of {site} on the fleet topic pushes")
    made = {each.name: new_token() for each in of_site if renew or not each.fields.get("token_sha256")}
    if output is not None:
        # Before the first token ends: whoever cannot keep the new ones is to keep the old ones.
        try:
            with new_private(output) as file:
                file.write(_as_csv(made).encode())
        except OSError as error:
            raise ConfigurationError(f"--output: {output}: {error.strerror}") from error

    def given(about: About, fields: Fields) -> Fields:
        return {**fields, "token_sha256": hash_token(made[about[1]])}

    try:
        asyncio.run(edit(log, [("device", name) for name in made], source, who(), given))
    except ConfigurationError:
        # Others may have been first with some of the entries. What counts of the rest is known nowhere else.
        owned = asyncio.run(read_fleet(log)).owned()
        made = {
            name: token
            for name, token in made.items()
            if (each := owned.get(("device", name))) and each.entry.fields.get("token_sha256") == hash_token(token)
        }
        raise
    finally:
        # Also where Kafka did not say whether it has them: it may.
        if output is None:
            rows = [dict(zip(TOKENS, each, strict=True)) for each in made.items()]
            print_records(TOKENS, rows, as_json=as_json, as_csv=as_csv)
        elif made:
            write_private(output, _as_csv(made))
            say(f"{counted(len(made), 'token')} written to {output}.")
        else:
            output.unlink()


def _as_csv(made: Mapping[str, str]) -> str:
    return csv_text(TOKENS, list(made.items()))


def _changed(kind: Kind, fields: Fields, given: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, str] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not name or not sign:
            raise ConfigurationError(f"FIELD=VALUE: {each!r} has no field or no `=`")
        if name in cells:
            raise ConfigurationError(f"FIELD=VALUE: {name} is given twice")
        cells[name] = value
    return fleet_changes.changed_fields(kind, fields, cells)
