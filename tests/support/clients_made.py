"""Counts the clients of Kafka that a module makes."""

from types import ModuleType
from typing import Any

import pytest


def clients_made(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[str]:
    """The calls by which `module` makes clients from now on, in order, as a list that grows."""
    made: list[str] = []
    for name in ("create_consumer", "create_admin"):
        create = getattr(module, name, None)
        if create is None:
            continue

        def counted(*args: Any, _name: str = name, _create: Any = create, **options: Any) -> Any:
            made.append(_name)
            return _create(*args, **options)

        monkeypatch.setattr(module, name, counted)
    return made
