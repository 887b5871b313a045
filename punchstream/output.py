"""What the commands print: a table for people, JSON for programs. All that is printed goes through here."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import chain, zip_longest
from textwrap import TextWrapper
from typing import Annotated, Any, Final

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from attendance.shown import shown, shown_json
from operations.log import Skipped

NARROWEST: Final = 30  # characters; a last column that is narrower is not worth wrapping

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


class Terminal(Console):
    """A console that prints sentences as they may be shown. Nothing in them is taken for markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console.render_str`."""
        return super().render_str(shown(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """See `Console.print`. Sentences are wrapped between words; a word that is longer than a line is left whole."""
        whole: dict[str, Any] = {"overflow": "ignore", "crop": False}
        if not options.get("soft_wrap", self.soft_wrap):
            objects = tuple(self._sentences(each) if isinstance(each, str) else each for each in objects)
        super().print(*objects, **whole | options)

    def _sentences(self, text: str) -> str:
        lines = text.split("\n")
        return "\n".join(
            line if cell_len(line) <= self.width else "\n".join(_wrapped([line], self.width)) for line in lines
        )


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


def show(rows: Sequence[Mapping[str, object]], *, as_json: bool, as_csv: bool = False) -> None:
    """Print rows as JSON, as CSV, or as a table in which nothing is cut.

    Args:
        rows: All with the same columns. Without rows there is no table, and in CSV no header.
        as_json: Whether `AsJson` was given.
        as_csv: Whether `AsCsv` was.
    """
    print_records(list(rows[0]) if rows else (), rows, as_json=as_json, as_csv=as_csv)


def print_whole(names: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table in which no word is broken or cut, at any width: a row a line, or a fact a line.

    It is a fact a line where rows do not fit a terminal's width. A pipe has any. Only the last column may be wrapped,
    between its words. Without rows nothing is printed.

    Args:
        names: Of the columns.
        rows: As many cells as there are names. None is an empty one, and a tuple is one of several lines.
    """
    texts = [[_lines(cell) for cell in row] for row in rows]
    if not texts:
        return
    columns = [[name, *chain(*column)] for name, *column in zip(names, *texts, strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    console = terminal()
    room = console.width - sum(widths[:-1]) - 2 * (len(names) - 1)
    if console.is_terminal and widths[-1] > room:
        wrapped = [[*row[:-1], _wrapped(row[-1], room)] for row in texts] if room >= NARROWEST else texts
        if max(cell_len(line) for row in wrapped for line in row[-1]) > room:
            _print_paragraphs(names, texts)
            return
        texts = wrapped
    for row in [[[name] for name in names], *texts]:
        for line in zip_longest(*row, fillvalue=""):
            padded = (text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True))
            typer.echo("  ".join(padded).rstrip())


def _lines(cell: object) -> list[str]:
    """The lines of a cell. In a text of others a new line would be taken for ours."""
    parts = cell if isinstance(cell, tuple) else (cell,)
    return ["" if part is None else shown(str(part)).replace("\n", " ") for part in parts] or [""]


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    wrapper = TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in wrapper.wrap(line) or [""]]


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


def _print_paragraphs(names: Sequence[str], rows: Iterable[Sequence[Sequence[str]]]) -> None:
    longest = max(map(cell_len, names))
    for index, row in enumerate(rows):
        if index:
            typer.echo("")
        for name, lines in zip(names, row, strict=True):
            _print_fact(name, lines, longest)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names with what they stand for, one below the other; None is nothing. No word is broken or cut."""
    texts = [(shown(name), "" if fact is None else shown(str(fact))) for name, fact in facts]
    longest = max((cell_len(name) for name, _ in texts), default=0)
    for name, text in texts:
        _print_fact(name, text.splitlines(), longest)


def _print_fact(name: str, lines: Sequence[str], longest: int) -> None:
    for index, line in enumerate(lines or [""]):
        begin = name if index == 0 else ""
        typer.echo(f"{begin}{' ' * (longest - cell_len(begin))}  {line}".rstrip())


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
