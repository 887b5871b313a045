"""A stage whose clock is wrong: `moved_clock.py FILE LIMIT STAGE` runs the stage in this process.

The file has by how many seconds the clock is ahead, and may change at any moment. LIMIT is that of `CLOCK_LIMIT`. The
guards are asked every second, so that a cell need not wait for a minute.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attendance import times


def move(file: Path) -> None:
    """Have `now` read the file. Whoever imports it after this has the wrong clock."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(file.read_text()))

    times.now = now


def run(file: Path, limit: str, stage: str) -> None:
    """Run the stage by the clock of the file."""
    move(file)
    os.environ["CLOCK_LIMIT"] = limit
    from attendance import guards
    from punchstream.cli import main

    guards.ASK_SECONDS = 1.0  # type: ignore[misc]  # a constant
    sys.argv = ["punchstream", stage]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
