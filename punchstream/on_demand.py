"""Commands that are loaded when they are asked for: a process loads its own, and none of the others."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import cleandoc
from typing import Any, Final

import typer
from typer.core import TyperGroup

_COMMANDS: Final = "punchstream.commands"


def on_demand(places: Mapping[str, str]) -> type[TyperGroup]:
    """What a group of commands is made of, some or all of which are loaded when they are asked for.

    Args:
        places: Where a word's command is, `module:name` in `punchstream.commands`: a function, or a further group.
            They come after the commands that the group has at once, in this order.
    """

    class Group(TyperGroup):
        def __init__(self, *, commands: Mapping[str, Any], **options: Any) -> None:
            super().__init__(**options)
            self.commands = _Commands(commands, places)  # type: ignore[assignment]  # it is never written to

        def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002 - typer gives it
            return list(self.commands)

    return Group


def full_help(command: Callable[..., object]) -> str:
    """The docstring with each paragraph in one line: typer keeps the line breaks, and terminals have other widths."""
    return "\n\n".join(" ".join(each.split()) for each in cleandoc(command.__doc__ or "").split("\n\n"))


class _Commands(Mapping[str, Any]):
    """Commands by their words; one that is not there yet is loaded when it is looked up."""

    def __init__(self, there: Mapping[str, Any], places: Mapping[str, str]) -> None:
        self._there, self._places = dict(there), places
        self._words = (*there, *places)

    def __getitem__(self, word: str) -> Any:  # noqa: ANN401 - typer's commands have no public type
        if word not in self._there:
            self._there[word] = _load(word, self._places[word])
        return self._there[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


def _load(word: str, place: str) -> Any:  # noqa: ANN401 - as above
    module, _, name = place.partition(":")
    found = getattr(import_module(f"{_COMMANDS}.{module}"), name)
    holder = typer.Typer()
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=word)
    else:
        holder.command(word, help=full_help(found))(found)
    (command,) = typer.main.get_group(holder).commands.values()
    return command
