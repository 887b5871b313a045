"""What a terminal that pushes by ADMS may be asked to do when it asks, and what it answers.

An access terminal does not know the commands of an attendance terminal, nor the other way round.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from producers.devices.contract import Result

CONNECT: Final = "CHECK"
"""The command that has a terminal connect anew."""
COUNTED: Final = r"0, ([0-9]{1,9}) records"

_RECORDS: Final = "DATA QUERY tablename=transaction,fielddesc=*,filter="
# What may ever be sent to a terminal: questions. Nothing that clears, writes, or runs on it.
_TIME: Final = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
ALLOWED: Final = re.compile(
    rf"INFO|CHECK|LOG|((DATA QUERY|VERIFY SUM) ATTLOG |{re.escape(_RECORDS)})StartTime={_TIME}\tEndTime={_TIME}"
    r"|GET OPTION FROM (AttLogCount|MaxAttLogCount|UserCount|FWVersion|IPAddress|DeviceName)"
)
_RETURNED: Final = re.compile(r"-?[0-9]{1,10}")
_COMMAND: Final = re.compile(r"[0-9]{1,16}")
# The document and firmware that can be read differ in what they call it.
_TOTAL: Final = re.compile(r"&Attlog(?:Sum|Count)=([0-9]{1,9})\b", re.IGNORECASE)


def backfill(since: datetime, until: datetime, *, access: bool = False) -> str:
    """The command that has a terminal send its punches of a time again; both are its own wall clock, naive.

    Args:
        since: From when, by the terminal's own wall clock.
        until: Until when, by the same.
        access: Whether it is an access terminal. Never without a time: one that is asked for its whole memory may hang.
    """
    return f"{_RECORDS if access else 'DATA QUERY ATTLOG '}{_between(since, until)}"


def count(since: datetime, until: datetime) -> str:
    """The command that has a terminal count its records of a time; what it then returned is as `COUNTED` has it.

    Args:
        since: From when, by the terminal's own wall clock.
        until: Until when, by the same.
    """
    return f"VERIFY SUM ATTLOG {_between(since, until)}"


def results_of(lines: Sequence[str]) -> list[Result]:
    """What a terminal says became of commands.

    Args:
        lines: Those of the body: `ID=…&Return=…` in any order, each of a command or of what the one before brought.
    """
    results = []
    for line in lines:
        pairs = (pair.partition("=") for pair in line.split("&"))
        said = {name.strip().casefold(): value.strip() for name, _, value in pairs}
        id_, returned = said.get("id", ""), said.get("return", "")
        if _COMMAND.fullmatch(id_) and _RETURNED.fullmatch(returned):
            total = _TOTAL.search(line)
            results.append(Result(id_, f"{returned}, {total[1]} records" if total else returned))
    return results


def _between(since: datetime, until: datetime) -> str:
    return f"StartTime={since:%Y-%m-%d %H:%M:%S}\tEndTime={until:%Y-%m-%d %H:%M:%S}"
