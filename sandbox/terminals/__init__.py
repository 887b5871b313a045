"""Simulated terminals, one module a protocol. Each has the name of the adapter that it is for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

PUSH_TERMINALS: Final[Mapping[str, str]] = {
    "hikvision": "sandbox.terminals.hikvision:PushingTerminal",
}
PULL_TERMINALS: Final[Mapping[str, str]] = {
    "hikvision": "sandbox.terminals.hikvision:AskedTerminal",
}
FILE_WRITERS: Final[Mapping[str, str]] = {}


def simulator(place: str) -> Any:  # noqa: ANN401 - a class of any of the protocols in base.py
    """The class that an entry of one of the tables above names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
