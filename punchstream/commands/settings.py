"""`punchstream settings`: what they are and where each value comes from, also as the page `docs/settings.md`."""

import os
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from attendance.durations import with_unit
from attendance.errors import ConfigurationError
from attendance.settings import GROUPS, SettingsGroup
from attendance.shown import MASK
from attendance.tracing import TracingSettings
from console.identity.settings import SignInSettings
from console.settings import ConsoleSettings
from ledger.settings import LedgerSettings
from punchstream.output import AsCsv, AsJson, say, show, terminal
from sinks.targets import target_settings

HEADER: Final = """# Settings

Settings come from the environment and from a file `.env` in the working directory. If both have a setting, the
environment wins. `punchstream settings` shows the values in force.

A duration has a unit: `30 s`, `5 min`, `12 h` or `90 days`. A number without a unit is seconds, or days where the name
of the setting ends in `DAYS`.

This page is generated: `punchstream settings --format markdown > docs/settings.md`.
"""

_GROUPS: Final[tuple[type[SettingsGroup], ...]] = (
    *GROUPS,
    TracingSettings,
    LedgerSettings,
    ConsoleSettings,
    SignInSettings,
)
_ALIKE: Final = 0.88  # of 1; KAFKA_BOOTSTRAP_SERVER is 0.98 like KAFKA_BOOTSTRAP_SERVERS


def settings(
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    style: Annotated[Literal["table", "markdown"], typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """Show every setting: its value (secrets masked), where it came from, what it means.

    Names that are no settings, but look like one, are named. The exit status is 1 if a value is wrong.
    """
    if style == "markdown":
        say(markdown(every_group()).removesuffix("\n"))
        return
    show(describe(every_group(), Path(".env"), with_units=not as_json), as_json=as_json, as_csv=as_csv)
    stderr = terminal(stderr=True, soft_wrap=True)
    for name, meant in misspelt(Path(".env")).items():
        stderr.print(f"{name} is no setting{f'; {meant} is' if meant else ''}.", style="yellow")
    wrong = wrong_values(every_group(), Path(".env"))
    for problem in wrong:
        stderr.print(problem, style="red")
    if wrong:
        raise typer.Exit(1)


def every_group() -> tuple[type[SettingsGroup], ...]:
    """The groups of settings of every stage and of every target."""
    return (*_GROUPS, *target_settings())


def is_set(name: str, env_file: Path = Path(".env")) -> bool:
    """Whether somebody set a setting.

    Args:
        name: Of the setting, in capitals.
        env_file: The file that is looked at beside the environment.
    """
    return name in os.environ or (env_file.exists() and name in dotenv_values(env_file))


def misspelt(env_file: Path) -> dict[str, str | None]:
    """The names that are no settings but look like one, in the environment or the file, and which each may mean.

    What stands in the file and begins as settings do is among them in any case, with None where nothing is alike. In
    the environment other programs have names that begin so.

    Args:
        env_file: The file that settings are read from, beside the environment.
    """
    in_file = {name.upper() for name in dotenv_values(env_file)} if env_file.exists() else set()
    names = in_file | {name.upper() for name in os.environ}
    known = {name for group in _GROUPS for name, _, _ in _fields(group)}
    if all(name in known or not name.startswith(_BEGINNINGS) for name in names):
        return {}
    # Targets are slow to load.
    known |= {name for group in target_settings() for name, _, _ in _fields(group)}
    found: dict[str, str | None] = {}
    for name in sorted(names - known):
        alike = get_close_matches(name, known, 1, _ALIKE)
        if alike or (name in in_file and name.startswith(_BEGINNINGS)):
            found[name] = alike[0] if alike else None
    return found


def wrong_values(groups: Sequence[type[SettingsGroup]], env_file: Path) -> list[str]:
    """What is wrong with values that somebody set, a sentence for each group. What nobody set is not missed here."""
    problems = []
    for group in groups:
        try:
            group.load()
        except ConfigurationError as error:
            if is_set(str(error).partition(":")[0], env_file):
                problems.append(str(error))
    return problems


def describe(groups: Sequence[type[BaseSettings]], env_file: Path, *, with_units: bool = False) -> list[dict[str, Any]]:
    """Each setting with name, value (secrets masked), source (`environment`, the file, `default`) and meaning.

    Args:
        groups: The groups of settings.
        env_file: The file that settings are read from, beside the environment.
        with_units: Whether durations are `90 days`, for people, and not `7776000`, for programs.
    """
    in_file = {name.upper() for name in dotenv_values(env_file)} if env_file.exists() else set()
    in_environment = {name.upper() for name in os.environ}
    rows = []
    for group in groups:
        try:
            loaded = group.load()  # type: ignore[attr-defined]
            problem = None
        except ConfigurationError as error:
            loaded, problem = None, str(error)
        for name, field_name, field in _fields(group):
            if name in in_environment:
                source = "environment"
            elif name in in_file:
                source = str(env_file)
            else:
                source = "unset" if field.is_required() else "default"
            if loaded is None:
                value = problem if problem and problem.startswith(f"{name}:") and source != "unset" else ""
            else:
                value = _shown(getattr(loaded, field_name), field if with_units else None)
            rows.append({"setting": name, "value": value, "source": source, "meaning": field.description})
    return rows


def markdown(groups: Iterable[type[BaseSettings]]) -> str:
    """The page `docs/settings.md`."""
    lines = [HEADER]
    for group in groups:
        lines += [f"## {(group.__doc__ or '').strip()}", "", "| setting | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {_default(field)} | {field.description} |" for name, _, field in _fields(group)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


_BEGINNINGS: Final = tuple(sorted({group.model_config.get("env_prefix", "") for group in _GROUPS} - {""}))


def _fields(group: type[BaseSettings]) -> Iterator[tuple[str, str, FieldInfo]]:
    prefix = group.model_config.get("env_prefix", "")
    for field_name, field in group.model_fields.items():
        yield f"{prefix}{field_name}".upper(), field_name, field


def _default(field: FieldInfo) -> str:
    default = field.get_default()
    if default is PydanticUndefined:
        return "required"
    return "" if default is None or default == () else f"`{_shown(default, field)}`"


def _shown(value: object, field: FieldInfo | None) -> str:
    """A value as text; with its unit, if the field is given and is a duration."""
    if field is not None and isinstance(value, int | float) and (text := with_unit(value, field.metadata)):
        return text
    match value:
        case SecretStr():
            return MASK
        case None:
            return ""
        case tuple():
            return ", ".join(map(str, value))
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
