"""What a process used, and how figures of several repetitions are told."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import psutil


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes since their start, in seconds, with all their threads."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes, in bytes."""
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in pids)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The figures of several repetitions as a table shows them."""
    return {"min": min(values), "median": median(values), "max": max(values), "repetitions": len(values)}


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]
