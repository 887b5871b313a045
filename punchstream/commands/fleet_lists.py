"""`punchstream fleet sites` and `shifts`: what the fleet has beside its devices."""

from collections import Counter
from typing import Annotated, Any, Final

import typer

from attendance.fleet import Shift, Site
from attendance.fleet_topic import FILE
from attendance.records.fleet import Kind
from attendance.registry import Registry
from punchstream.commands.arguments import known_fleet
from punchstream.output import AsCsv, AsJson, print_records

SITES: Final = (*Site.model_fields, "has_devices", "source")
SHIFTS: Final = (*Shift.model_fields, "has_devices", "source")

OfSource = Annotated[str | None, typer.Option("--source", help="Only what this source wrote.")]


def sites(*, source: OfSource = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show the sites with their defaults, and how many devices each has.

    A site that only devices name has no defaults, and no source.
    """
    fleet = known_fleet()
    entries, devices = fleet.fleet.sites, Counter(device.site for device in fleet)
    rows = []
    for name in sorted({*entries, *devices}):
        own = {"has_devices": devices[name], "source": _source(fleet, "site", name) if name in entries else None}
        rows.append(entries.get(name, Site(site=name)).model_dump(mode="json") | own)
    _print(SITES, rows, source, as_json=as_json, as_csv=as_csv)


def shifts(*, source: OfSource = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show the shifts, and how many devices each has: those that it names and those of its sites."""
    fleet = known_fleet()
    rows = [
        entry.model_dump(mode="json")
        | {"has_devices": len(fleet.shifts[name]), "source": _source(fleet, "shift", name)}
        for name, entry in sorted(fleet.fleet.shift_entries.items())
    ]
    _print(SHIFTS, rows, source, as_json=as_json, as_csv=as_csv)


def _source(fleet: Registry, kind: Kind, name: str) -> str:
    """Who wrote an entry. What only the fleet file has is of the source that it is."""
    written = fleet.topic.owned().get((kind, name))
    return FILE if written is None else written.entry.source


def _print(
    columns: tuple[str, ...], rows: list[dict[str, Any]], source: str | None, *, as_json: bool, as_csv: bool
) -> None:
    wanted = [row for row in rows if source in (None, row["source"])]
    if not as_json:
        wanted = [{name: _joined(value) for name, value in row.items()} for row in wanted]
    print_records(columns, wanted, as_json=as_json, as_csv=as_csv)


def _joined(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
