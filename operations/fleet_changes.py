"""Single entries of the fleet topic, as a person adds, changes and removes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from attendance.errors import ConfigurationError
from attendance.fleet_entries import NAMED_BY, GivenEntry
from attendance.records.fleet import Kind
from operations.fleet import no_such, read_fleet, write
from operations.fleet_plan import About, Change, Fields, Wanted, fields_of, whose
from operations.fleet_sources import NESTED, fields_of_cells
from operations.log import Log


async def add(log: Log, about: About, fields: Fields, source: str, by: str) -> list[Change]:
    """Add an entry.

    Args:
        log: The topics.
        about: Its kind and name.
        fields: What it says.
        source: Who writes.
        by: Who decides.

    Raises:
        ConfigurationError: it is there already, or the fleet would be wrong; nothing was written.
        KafkaUnavailable: Kafka does not answer; it may be written or not.
    """
    kind, name = about
    before = await read_fleet(log)
    if owner := before.owned().get(about):
        raise ConfigurationError(f"the {kind} {name} is there already, of {whose(owner.entry.source)}")
    return await write(log, Wanted(source, by, {about: fields}), before)


async def remove(log: Log, abouts: Sequence[About], source: str, by: str) -> list[Change]:
    """Remove entries: all or none.

    Args:
        log: The topics.
        abouts: Their kinds and names.
        source: Whose they are.
        by: Who decides.

    Raises:
        ConfigurationError: one is not there or another source's, or the fleet would be wrong; nothing was written.
        KafkaUnavailable: Kafka does not answer; each may be removed or not.
    """
    before = await read_fleet(log)
    owned = before.owned()
    problems = []
    for about in abouts:
        owner = owned.get(about)
        if owner is None:
            problems.append(no_such(about))
        elif owner.entry.source != source:
            problems.append(f"{about[1]}: it belongs to {whose(owner.entry.source)}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return await write(log, Wanted(source, by, dict.fromkeys(abouts)), before)


def changed_fields(kind: Kind, fields: Fields, cells: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an entry once some were changed. What is wrong with them, whoever writes them says.

    Args:
        kind: What the entry is of.
        fields: What it says now.
        cells: The new values by the names of the columns of a table, such as `options.tls`. An empty one takes the
            field away, so that its site or the default has it.

    Raises:
        ConfigurationError: a name has parts that its field has not.
    """
    known = {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}
    for name, value in cells.items():
        field, dot, part = name.partition(".")
        if dot and (field not in NESTED or not part):
            raise ConfigurationError(f"{field} has no parts, so there is no {name}")
        if not value:
            (known.get(field, {}) if part else known).pop(part or field, None)
    for name, value in fields_of_cells({name: value for name, value in cells.items() if value}).items():
        known[name] = {**known.get(name, {}), **value} if isinstance(value, dict) else value
    try:
        return fields_of(GivenEntry(kind, {NAMED_BY[kind]: "any", **known}, "", ""))[1]
    except ValidationError:
        return known
