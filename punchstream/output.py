"""What the commands print: a table for people, JSON for programs. All that is printed goes through here."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Annotated, Any, Final

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attendance.shown import shown, shown_json
from operations.log import Skipped

LONGEST_WORD: Final = 20  # characters, as a time has; a longer word in a table may be broken

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


class Terminal(Console):
    """A console that prints sentences as they may be shown. Nothing in them is taken for markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console.render_str`."""
        return super().render_str(shown(text), **options)


def terminal(*, stderr: bool = False, soft_wrap: bool = False) -> Terminal:
    """The console of this process.

    Args:
        stderr: Whether standard error is meant.
        soft_wrap: Whether lines are left as long as they are.
    """
    return Terminal(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)


def say(text: str, *, err: bool = False) -> None:
    """Print a sentence or several lines, as long as they are.

    Args:
        text: What to say, with texts of others in it as they are.
        err: Whether standard error is meant.
    """
    typer.echo(shown(text), err=err)


def show(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows.

    Args:
        rows: All with the same columns.
        as_json: Whether to print JSON, not a table.
    """
    if as_json:
        print_json(rows)
        return
    print_rows(list(rows[0]) if rows else (), (list(row.values()) for row in rows))


def print_rows(names: Sequence[str], rows: Iterable[Iterable[object]], *, whole: int = 1) -> None:
    """Print a table, or a paragraph for each row where the terminal is too narrow. Without rows nothing is printed.

    Args:
        names: Of the columns.
        rows: As many cells as there are names; None is an empty one.
        whole: So many of the first columns are never broken, because people type them into the next command.
    """
    texts = [["" if cell is None else shown(str(cell)) for cell in row] for row in rows]
    if not texts:
        return
    columns = ["\n".join(column) for column in zip(names, *texts, strict=True)]
    widest = [max(map(cell_len, column.splitlines())) for column in columns]
    widths = [
        wide if index < whole else min(max(map(cell_len, column.split())), LONGEST_WORD)
        for index, (column, wide) in enumerate(zip(columns, widest, strict=True))
    ]
    room = terminal().width - sum(widths) - 2 * (len(names) - 1)
    if room < 0:
        _print_paragraphs(names, texts)
        return
    while room > 0 and (narrow := [index for index, wide in enumerate(widest) if widths[index] < wide]):
        for index in narrow[:room]:
            widths[index] += 1
        room -= len(narrow)
    table = Table(box=None, pad_edge=False)
    for name, width in zip(names, widths, strict=True):
        table.add_column(name, width=width, overflow="fold")
    for text in texts:
        table.add_row(*text)
    print_table(table)


def print_whole(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in which nothing is broken or cut, at any width: a row a line, or a fact a line.

    It is a fact a line where rows do not fit a terminal's width. A pipe has any.

    Args:
        names: Of the columns.
        rows: As many cells as there are names; None is an empty one.
    """
    texts = [["" if cell is None else shown(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    if not texts:
        return
    widths = [max(map(cell_len, column)) for column in zip(names, *texts, strict=True)]
    console = terminal()
    if not console.is_terminal or sum(widths) + 2 * (len(names) - 1) <= console.width:
        for line in [list(names), *texts]:
            padded = (text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True))
            typer.echo("  ".join(padded).rstrip())
        return
    longest = max(map(cell_len, names))
    for index, row in enumerate(texts):
        if index:
            typer.echo("")
        for name, text in zip(names, row, strict=True):
            typer.echo(f"{name}{' ' * (longest - cell_len(name))}  {text}".rstrip())


def print_csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for table programs.

    Args:
        names: Of the columns.
        rows: As many cells as there are names.
    """
    say(csv_text(names, rows).rstrip("\n"))


def csv_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for table programs. A text that begins as a formula does gets an apostrophe before it.

    Args:
        names: Of the columns.
        rows: As many cells as there are names.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([csv_cell(each) for each in row] for row in rows)
    return text.getvalue()


def print_records(
    names: Sequence[str], records: Sequence[Mapping[str, object]], *, as_json: bool, as_csv: bool
) -> None:
    """Print records as JSON, as CSV, or as a table in which nothing is cut.

    Args:
        names: Of the fields, in the order of the columns.
        records: Each has all of them.
        as_json: Whether `AsJson` was given.
        as_csv: Whether `AsCsv` was.
    """
    cells = [[each[name] for name in names] for each in records]
    if as_json:
        print_json(records)
    elif as_csv:
        print_csv(names, cells)
    else:
        print_whole(names, cells)


def csv_cell(value: object) -> object:
    """What a table program shows as it is: a text that begins as a formula does would be one."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}: {each}" for name, each in value.items())
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _print_paragraphs(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    facts: list[tuple[str, str]] = []
    for index, row in enumerate(rows):
        if index:
            facts.append(("", ""))
        facts += zip(names, row, strict=True)
    print_facts(facts)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names with what they stand for, one below the other; None is nothing."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts:
        table.add_row(shown(name), "" if fact is None else shown(str(fact)))
    print_table(table)


def print_json_list(rows: Iterable[object]) -> None:
    """Print a list, an object at a time, for lists that are too long to be in memory at once."""
    before = "[\n"
    for row in rows:
        typer.echo(before + _json(row), nl=False)
        before = ",\n"
    typer.echo("\n]" if before[0] == "," else "[]")


def print_json(data: object) -> None:
    """Print an object, or a list of them."""
    typer.echo(_json(data))


def _json(data: object) -> str:
    try:
        text = orjson.dumps(data, default=str, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:  # it takes no integer of more than 64 bits, and a record may hold one
        text = json.dumps(data, default=str, indent=2, ensure_ascii=False)
    return shown_json(text)


def print_table(table: Table) -> None:
    """Print a table. Nothing in it is taken for markup: device users and file names may look like it."""
    terminal().print(table)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    Args:
        number: How many there are.
        one: What one of them is called.
        many: What several, or none, are called; None where only an "s" is added.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def cut(text: str, length: int) -> str:
    """Text of at most so many characters, and a note of what is missing."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length} more characters)"


def say_skipped(skipped: Skipped) -> None:
    """Say on standard error which records could not be read."""
    for line in skipped.lines():
        say(line, err=True)
