"""What the commands print: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from operations.log import Skipped

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows.

    Args:
        rows: All with the same columns.
        as_json: Whether to print JSON, not a table.
    """
    if as_json:
        print_json(rows)
        return
    table = Table(*(rows[0] if rows else ()))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    print_table(table)


def print_json(data: object) -> None:
    """Print an object, or a list of them."""
    try:
        text = orjson.dumps(data, default=str, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:  # it takes no integer of more than 64 bits, and a record may hold one
        text = json.dumps(data, default=str, indent=2, ensure_ascii=False)
    typer.echo(text)


def print_table(table: Table) -> None:
    """Print a table. Nothing in it is taken for markup: device users and file names may look like it."""
    Console(markup=False, emoji=False, highlight=False).print(table)


def say_skipped(skipped: Skipped) -> None:
    """Say on standard error which records could not be read."""
    for line in skipped.lines():
        typer.echo(safe(line), err=True)


def safe(text: str) -> str:
    """Text without what a terminal would obey: it comes from devices, and from whoever may post."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )
