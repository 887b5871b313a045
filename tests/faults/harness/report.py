"""The matrix as a table, for people and for the documents."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from harness.cells import Result

BEGIN = "<!-- matrix: begin (make faults WRITE=1) -->"
END = "<!-- matrix: end -->"
COLUMNS = (
    "struck",
    "fault",
    "where",
    "raw events",
    "sent again",
    "check-ins again",
    "found there",
    "longest delay",
    "verdict",
)


def row(result: Result) -> tuple[str, ...]:
    """One result as the columns have it."""
    cell = result.cell
    fault = f"{cell.fault}, {cell.lasts:g} s" if cell.lasts else cell.fault
    return (
        result.victim,
        fault,
        cell.point.removeprefix(f"{cell.target}: ") or ("the leader" if cell.target == "leader" else ""),
        str(result.raw),
        str(max(0, result.resent)),
        str(result.repeated_checkins),
        str(result.already_there),
        f"{result.delay:.1f} s",
        "FAILED" if result.problems else "ok",
    )


def table(results: Sequence[Result]) -> Table:
    """For a terminal."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(COLUMNS):
        shown.add_column(column, justify="right" if 3 <= index <= 7 else "left", no_wrap=True)
    for result in results:
        shown.add_row(*row(result), style="red" if result.problems else None)
    return shown


def write(page: Path, results: Iterable[Result], seed: int) -> None:
    """Put the table between the markers of a page."""
    lines = [
        BEGIN,
        f"Seed {seed}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "".join("---:|" if 3 <= index <= 7 else "---|" for index in range(len(COLUMNS))),
        *("| " + " | ".join(row(result)) + " |" for result in results),
        END,
    ]
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + "\n".join(lines) + after, encoding="utf-8")
