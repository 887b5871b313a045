"""What check-ins cost an ERPNext by `insert_many` and by the fast ingest of the app `biometric_integration`, in turns.

By hand, on a site for trying things out: the check-ins stay there. ERPNEXT_URL, ERPNEXT_API_KEY and ERPNEXT_API_SECRET
name the site and an HR User; it needs Active employees of one default shift.
What a punch outside of its employee's shifts costs is Frappe HR's search for another day, by both ways.

    python -m bench.desk_ingest --shift Day --batch 100 --pids 4711,4712
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from attendance.erpnext import CHECKIN, MAX_INSERT_MANY, Document, ErpnextClient
from attendance.settings import ErpnextSettings
from bench.measure import cpu_seconds
from sinks.targets.erpnext.ingest import INSERT

console = Console()
Send = Callable[[Sequence[Document]], None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one way."""

    documents: int
    seconds: float
    cpu: float

    @property
    def per_second(self) -> float:
        """Documents for each second of the clock."""
        return self.documents / self.seconds

    @property
    def cpu_milliseconds(self) -> float:
        """CPU time of the server for each document."""
        return self.cpu / self.documents * 1000


def check_ins(employees: Sequence[str]) -> Iterator[Document]:
    """Check-ins that no site has yet: each employee once a round, between 07:30 and 08:30."""
    # Around the begin of a shift, on days of their own for each run.
    day = datetime(2026, 1, 5, 7, 30) + timedelta(days=int(time.time()) % 300)  # noqa: DTZ001 - ERPNext's times are naive
    second = int(time.time()) // 300 % 900
    while True:
        second += 1
        at = day + timedelta(seconds=second)
        for employee in employees:
            yield {
                "doctype": CHECKIN,
                "employee": employee,
                "time": at.isoformat(sep=" "),
                "device_id": "bench-01",
                "log_type": "IN",
                "event_id": uuid4().hex,
            }


def main() -> None:
    """Take turns and print what each way took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=100, help="documents in one request; insert_many takes 200")
    parser.add_argument("--documents", type=int, default=1000, help="documents in one turn")
    parser.add_argument("--shift", required=True, help="default shift of the employees, which begins at about 08:00")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way")
    parser.add_argument("--pids", default="", help="processes of the server, whose CPU time counts: gunicorn, mariadbd")
    options = parser.parse_args()
    pids = [int(each) for each in options.pids.split(",") if each]
    client = ErpnextClient(ErpnextSettings.load())
    employees = [
        row["name"]
        for row in client.get_list(
            "Employee", ["name"], [("status", "=", "Active"), ("default_shift", "=", options.shift)]
        )
    ]
    source = check_ins(employees)

    def fast(documents: Sequence[Document]) -> None:
        outcomes = client.call("POST", INSERT, {"checkins": list(documents)})["message"]["outcomes"]
        assert [each["outcome"] for each in outcomes] == ["inserted"] * len(documents), outcomes

    def many(documents: Sequence[Document]) -> None:
        assert len(client.insert_many(documents)) == len(documents)

    ways: dict[str, tuple[Send, int]] = {
        "insert_many": (many, min(options.batch, MAX_INSERT_MANY)),
        "fast ingest": (fast, options.batch),
    }
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    for send, size in ways.values():  # once, so that no turn pays for what a process does first
        send([next(source) for _ in range(size)])
    for _ in range(options.turns):
        for name, (send, size) in ways.items():
            batches = [[next(source) for _ in range(size)] for _ in range(max(1, options.documents // size))]
            began, cpu = time.perf_counter(), cpu_seconds(pids)
            for batch in batches:
                send(batch)
            turns[name].append(Turn(sum(map(len, batches)), time.perf_counter() - began, cpu_seconds(pids) - cpu))
    show(turns, {name: size for name, (_, size) in ways.items()}, len(employees))


def show(turns: dict[str, list[Turn]], sizes: dict[str, int], employees: int) -> None:
    """Print the medians, and the ratios of them."""
    table = Table(title=f"{employees} employees; medians of {len(turns['insert_many'])} turns each")
    for heading in ("way", "documents a request", "documents/s", "CPU ms a document"):
        table.add_column(heading, justify="right")
    figures = {
        name: (median(each.per_second for each in of), median(each.cpu_milliseconds for each in of))
        for name, of in turns.items()
    }
    for name, (per_second, cpu) in figures.items():
        table.add_row(name, str(sizes[name]), f"{per_second:,.0f}", f"{cpu:.2f}")
    console.print(table)
    (old, old_cpu), (new, new_cpu) = figures["insert_many"], figures["fast ingest"]
    console.print(f"{new / old:.1f} times the documents/s; {old_cpu / new_cpu if new_cpu else 0:.1f} times less CPU")


if __name__ == "__main__":
    main()
