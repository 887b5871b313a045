"""Check-ins to a target: consume, deliver, retry, dead-letter, commit."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from attendance.errors import ConfigurationError

if TYPE_CHECKING:
    from attendance.settings import SinkSettings
    from sinks.targets.base import Target

TARGETS: Final[Mapping[str, str]] = {
    "erpnext": "sinks.targets.erpnext:create",
    "jsonl": "sinks.targets.jsonl:create",
}
"""Each target's factory, `module:function`, imported only when the target is chosen."""


def create_target(settings: "SinkSettings") -> "Target":
    """The target that `SINK_TARGET` names, not opened.

    Raises:
        ConfigurationError: there is no such target, or one of its own settings is wrong or missing.
    """
    if settings.target not in TARGETS:
        raise ConfigurationError(f"SINK_TARGET: {settings.target!r} is none of {', '.join(TARGETS)}")
    module, factory = TARGETS[settings.target].split(":")
    target: Target = getattr(import_module(module), factory)(settings)
    return target
