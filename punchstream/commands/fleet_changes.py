"""How the commands of `punchstream fleet` name entries, and print what became of them."""

from collections.abc import Sequence
from typing import Annotated

import orjson
import typer

from attendance.records.fleet import Kind
from operations.fleet_plan import Change
from punchstream.output import counted, print_csv, print_json, say

OfKind = Annotated[Kind, typer.Option("--kind", help="What NAME is.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The device_id; with `--kind`, the site or the Shift Type.")]
Names = Annotated[
    list[str], typer.Argument(metavar="NAME…", help="The device_ids; with `--kind`, the sites or the Shift Types.")
]

COLUMNS = ("what", "kind", "name", "source", "field", "before", "after")


def print_changes(found: Sequence[Change], source: str, *, as_json: bool, as_csv: bool, done: str = "written") -> None:
    """Print what became of entries: for people a line each, as CSV a row for each field.

    Args:
        found: What is different.
        source: Who wrote, or would.
        as_json: Whether `AsJson` was given.
        as_csv: Whether `AsCsv` was.
        done: What has become of the changes, for people.
    """
    if as_json:
        print_json(
            [
                {
                    "what": each.what,
                    "kind": each.kind,
                    "name": each.name,
                    "source": source,
                    "fields": [dict(zip(("name", "before", "after"), field, strict=True)) for field in each.fields],
                }
                for each in found
            ]
        )
    elif as_csv:
        print_csv(
            COLUMNS,
            [
                (each.what, each.kind, each.name, source, name, as_cell(before), as_cell(after))
                for each in found
                for name, before, after in each.fields or ((None, None, None),)
            ],
        )
    else:
        for each in found:
            say(str(each))
        say(f"{counted(len(found), 'change')} {done}, of the source {source}.")


def as_cell(value: object) -> object:
    """What CSV has of a value: a text as it is, anything else as JSON has it."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
