"""Holds the coverage of the unit tests to its floors: `coverage json -q -o - | python tests/coverage_floors.py`."""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

FLOORS: Final = {
    "attendance": 85,
    "producers": 85,
    "streams": 85,
    "sinks": 85,
    "operations": 85,
    "ledger": 85,
    "console": 85,
    "punchstream": 85,
    "zkreader": 85,
    "sinks/delivery/runner.py": 80,
    "streams/app.py": 80,
}
"""Percent of lines, of a package or of one module."""


def rows(files: Mapping[str, Any]) -> list[tuple[str, int, int, int]]:
    """For each floor: what it is for, how many lines that has, how many of them were run, and the floor in percent.

    Args:
        files: What coverage's JSON report says of each file.
    """
    found = []
    for name, floor in FLOORS.items():
        summaries = [each["summary"] for path, each in files.items() if path == name or path.startswith(f"{name}/")]
        lines = sum(summary["num_statements"] for summary in summaries)
        found.append((name, lines, sum(summary["covered_lines"] for summary in summaries), floor))
    return found


def main() -> None:
    """Print a table, and exit with 1 where something is below its floor."""
    missed = []
    print(f"{'':26}{'lines':>8}{'run':>8}{'percent':>10}{'floor':>8}")
    for name, lines, run, floor in rows(json.load(sys.stdin)["files"]):
        percent = 100 * run / lines if lines else 0.0
        print(f"{name:26}{lines:>8}{run:>8}{percent:>10.1f}{floor:>8}")
        if percent < floor:
            missed.append(name)
    if missed:
        sys.exit(f"Below the floor: {', '.join(missed)}. `.venv/bin/coverage report -m` names the lines.")
    print("Every floor is held.")


if __name__ == "__main__":
    main()
