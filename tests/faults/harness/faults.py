"""What is done to a process."""

import signal
from collections.abc import Callable
from typing import Literal

import psutil

from harness.cluster import Victim
from harness.network import Network

Fault = Literal[
    "SIGKILL",
    "SIGTERM",
    "SIGSTOP",
    "cut",
    "latency",
    "clock moved",
    "clock behind",
    "topic compacted",
    "retention shortened",
    "offsets out of range",
    "group without progress",
    "topic made anew",
    "certificate renewed",
]
FAULTS: tuple[Fault, ...] = ("SIGKILL", "SIGTERM", "SIGSTOP", "cut", "latency")

LATENCY_SECONDS = 2.0
LASTS: dict[Fault, float] = {"SIGKILL": 0.0, "SIGTERM": 0.0, "SIGSTOP": 60.0, "cut": 20.0, "latency": 15.0}
"""Seconds. A consumer's session is over after 6: a process that sleeps or is cut off longer wakes up as a zombie."""


def strike(fault: Fault, victim: Victim, network: Network, lasts: Callable[[], None]) -> None:
    """Do it, call `lasts` for as long as it lasts, and undo what can be undone. Who died is started by others."""
    match fault:
        case "SIGKILL":
            victim.process.kill()
        case "SIGTERM":
            victim.process.terminate()
        case "SIGSTOP":
            victim.process.pause()
            try:
                lasts()
            finally:
                victim.process.resume()
        case "cut" | "latency":
            ports = victim.ports
            trouble = (
                network.cut(victim.pid, *ports) if fault == "cut" else network.slow(LATENCY_SECONDS, victim.pid, *ports)
            )
            try:
                lasts()
            finally:
                network.heal(trouble)


def has_struck(victim: Victim, number: signal.Signals) -> bool:
    """Whether a process that strikes itself has done so."""
    if number == signal.SIGSTOP:
        pid = victim.pid()
        return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return not victim.process.running
