"""Targets: where check-ins are delivered to. Each is a module or a folder of its own, and a line in `TARGETS`."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from attendance.errors import ConfigurationError

if TYPE_CHECKING:
    from attendance.settings import SettingsGroup, SinkSettings
    from sinks.targets.base import Target

TARGETS: Final[Mapping[str, str]] = {
    "erpnext": "sinks.targets.erpnext.target",
    "jsonl": "sinks.targets.jsonl",
}
"""Each target's module, imported only when it is needed.

It has `create(settings: SinkSettings) -> Target` and, where it has settings that no other stage has, a `SettingsGroup`
by the name of `Settings`, which the command and the page of settings then show.
"""


def create_target(settings: "SinkSettings") -> "Target":
    """The target that `SINK_TARGET` names, not opened.

    Raises:
        ConfigurationError: There is no such target, or one of its own settings is wrong or missing.
    """
    if settings.target not in TARGETS:
        raise ConfigurationError(f"SINK_TARGET: {settings.target!r} is none of {', '.join(TARGETS)}")
    target: Target = import_module(TARGETS[settings.target]).create(settings)
    return target


def target_settings() -> "Iterator[type[SettingsGroup]]":
    """The settings that targets have of their own. Imports every target."""
    for module in TARGETS.values():
        group: type[SettingsGroup] | None = getattr(import_module(module), "Settings", None)
        if group is not None:
            yield group
