"""How long it takes to read files of 100,000 rows, and in how much memory: `python -m bench.imports`."""

import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from attendance.fleet import Device
from producers.devices import create_file_adapter
from sandbox.terminals import FILE_WRITERS, simulator
from sandbox.terminals.base import Punch

ROWS = 100_000
LONGEST_SECONDS = 60
MOST_MEGABYTES = 200


def write(name: str, directory: Path) -> Path:
    """A file of that writer's."""
    first = datetime.fromisoformat("2026-01-01 00:00:00")
    punches = [Punch(f"{number % 997:06}", first + timedelta(seconds=7 * number), "IN") for number in range(ROWS)]
    path: Path = simulator(FILE_WRITERS[name])().write(directory, punches)
    return path


def read(name: str, path: Path) -> None:
    """Read a file and print rows, seconds and the most memory that this process had, in MB."""
    import resource

    entry = simulator(FILE_WRITERS[name])().registry_entry()
    device = Device.model_validate({"device_id": "BENCH", "site": "HQ", "timezone": "Asia/Riyadh", **entry})
    began = time.perf_counter()
    rows = sum(1 for _ in create_file_adapter(device.adapter, ()).rows(path, device, {}))
    seconds = time.perf_counter() - began
    print(rows, round(seconds, 1), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> int:
    """Exit status 1 where a limit is not kept."""
    kept = True
    with tempfile.TemporaryDirectory() as directory:
        for name in sorted(FILE_WRITERS):
            path = write(name, Path(directory))
            command = (sys.executable, "-m", "bench.imports", name, str(path))
            rows, seconds, megabytes = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout.split()
            print(f"{name:12} {int(rows):>8,} rows  {seconds:>6} s  {megabytes:>4} MB")
            kept &= int(rows) == ROWS and float(seconds) < LONGEST_SECONDS and int(megabytes) < MOST_MEGABYTES
    return 0 if kept else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main())
