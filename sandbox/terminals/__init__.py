"""Simulated terminals, one module a protocol.

Each has the name of the adapter that it is for, and after a colon that of its dialect where there are several.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

PUSH_TERMINALS: Final[Mapping[str, str]] = {
    "hfsecurity": "sandbox.terminals.hfsecurity:LanTerminal",
    "hfsecurity:app": "sandbox.terminals.hfsecurity:AppTerminal",
    "hfsecurity:hfims": "sandbox.terminals.heystar:HfImsTerminal",
    "hfsecurity:hfims-form": "sandbox.terminals.heystar:HfImsFormTerminal",
    "hikvision": "sandbox.terminals.hikvision:PushingTerminal",
    "hikvision:json": "sandbox.terminals.hikvision:JsonTerminal",
    "hikvision:xml": "sandbox.terminals.hikvision:XmlTerminal",
    "json": "sandbox.terminals.json_v1:JsonTerminal",
    "zkteco_adms": "sandbox.terminals.zkteco_adms:AttendanceTerminal",
    "zkteco_adms:acc": "sandbox.terminals.zkteco_adms:AccessTerminal",
    "zkteco_adms:aspx": "sandbox.terminals.zkteco_adms:AspxTerminal",
}
PULL_TERMINALS: Final[Mapping[str, str]] = {
    "biotime_sql": "sandbox.terminals.sql:BioTimeSql",
    "etimetracklite": "sandbox.terminals.sql:ETimeTrackLite",
    "hfsecurity": "sandbox.terminals.hfsecurity:LanDevice",
    "hfsecurity:heystar": "sandbox.terminals.heystar_asked:HeyStarDevice",
    "hfsecurity:middleware": "sandbox.terminals.heystar_asked:HeyStarMiddleware",
    "hikvision": "sandbox.terminals.hikvision:AskedTerminal",
    "rest": "sandbox.terminals.rest:PagedRest",
    "rest:numbers": "sandbox.terminals.rest:NumberedRest",
    "sql": "sandbox.terminals.sql:Sql",
    "zkbiotime": "sandbox.terminals.zkbiotime:BioTimeServer",
    "zkteco_tcp": "sandbox.terminals.zkteco_tcp:ZktecoTcp",
}
FILE_WRITERS: Final[Mapping[str, str]] = {
    "attlog": "sandbox.terminals.files:Attlog",
    "csv": "sandbox.terminals.files:BioTimeCsv",
    "csv:ivms": "sandbox.terminals.files:IvmsCsv",
    "csv:zktime": "sandbox.terminals.files:ZkTimeCsv",
    "xlsx": "sandbox.terminals.files:BioTimeXlsx",
}


def simulator(place: str) -> Any:  # noqa: ANN401 - a class of any of the protocols in base.py
    """The class that an entry of one of the tables above names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
