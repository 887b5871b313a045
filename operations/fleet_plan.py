"""What a change of the fleet topic would come to, and why it may not be made. Nothing is read or written here."""

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.fleet_entries import MODELS, NAMED_BY, GivenEntry, compiled
from attendance.fleet_topic import COMMAND, PROGRAMS, WRITERS, FleetTopicEntries, Written
from attendance.records.fleet import Kind
from producers.devices import check_entry

EXAMPLES: Final = 5  # devices that an error names

_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}")

About = tuple[Kind, str]
Fields = Mapping[str, Any]


class Change(NamedTuple):
    """What becomes of one entry. `fields` names what is different, as the name, what was, and what will be."""

    what: Literal["added", "changed", "removed", "moved"]
    kind: Kind
    name: str
    fields: tuple[tuple[str, object, object], ...] = ()

    def __str__(self) -> str:
        sign = {"added": "+", "changed": "~", "removed": "-", "moved": ">"}[self.what]
        shown = ", ".join(f"{name}: {_value(before)} -> {_value(after)}" for name, before, after in self.fields)
        return f"{sign} {self.kind} {self.name}" + (f": {shown}" if shown else "")


def _value(value: object) -> str:
    return "unset" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The entries that a source is to have: by kind and name their fields, None for one that it is to have no more.

    Attributes:
        source: Who writes.
        by: The operating system's user.
        entries: What is wanted of them.
    """

    source: str
    by: str
    entries: Mapping[About, Fields | None]


def check_source(source: str) -> str:
    """A source by its name.

    Raises:
        ConfigurationError: it cannot be one.
    """
    if not _SOURCE.fullmatch(source):
        raise ConfigurationError(f"--source: {source!r}: at most 64 lower-case letters, digits, _ . : -")
    return source


def check_writer(source: str) -> str:
    """A source as which a command may write, by its name.

    Raises:
        ConfigurationError: it cannot be a source, or only a program writes as it.
    """
    if check_source(source) in PROGRAMS:
        raise ConfigurationError(
            f"--source: only {WRITERS[source]} writes as {source}; `punchstream fleet move --source {COMMAND} NAME`"
            " takes an entry from it"
        )
    return source


def whose(source: str) -> str:
    """The words for a source in a sentence, with who writes as it where that is known."""
    writer = WRITERS.get(source)
    return f"the source {source}" + (f" ({writer})" if writer else "")


def fields_of(entry: GivenEntry) -> tuple[About, dict[str, Any]]:
    """Kind and name of a right entry, and what it says itself as the topic has it.

    Args:
        entry: One that `compiled` did not refuse. A device may leave to its site what the site has.
    """
    assert isinstance(entry.fields, Mapping)
    assert entry.name is not None
    model = MODELS[entry.kind]
    fields = dict(entry.fields)
    # A device that leaves its zone to its site is not whole by itself.
    given = model.model_validate(({"timezone": "UTC"} if entry.kind == "device" else {}) | fields)
    said = given.model_dump(mode="json", include=fields.keys() - {NAMED_BY[entry.kind]})
    return (entry.kind, entry.name), said


def plan(wanted: Wanted, before: FleetTopicEntries) -> list[Change]:
    """What would be different. An entry that stays as it is is not among them.

    Args:
        wanted: The entries.
        before: What the topic says.

    Raises:
        ConfigurationError: an entry belongs to another source, or the fleet would be wrong; a line for each fault.
    """
    given = [
        GivenEntry(kind, {NAMED_BY[kind]: name, **fields}, f"source {wanted.source}", f"{kind} {name}")
        for (kind, name), fields in wanted.entries.items()
        if fields is not None
    ]
    gone = [about for about, fields in wanted.entries.items() if fields is None]
    if problems := _problems(given, gone, wanted.source, before):
        raise ConfigurationError("\n".join(problems))
    return _changes(wanted, before)


def plan_source(
    given: Sequence[GivenEntry], before: FleetTopicEntries, source: str, by: str, problems: Sequence[str] = ()
) -> tuple[Wanted, list[Change]]:
    """What a source is to have that has these entries and no others, and what would be different.

    Args:
        given: All of the source, right or wrong.
        before: What the topic says.
        source: Whose they are.
        by: Who writes.
        problems: What else is wrong, such as files that cannot be read.

    Raises:
        ConfigurationError: something is wrong; a line for each fault, with the places of entries.
    """
    own = dict.fromkeys(of_source(before, source))
    gone = own.keys() - {(each.kind, each.name) for each in given}
    if found := [*problems, *_problems(given, gone, source, before)]:
        raise ConfigurationError("\n".join(found))
    wanted = Wanted(source, by, own | dict(map(fields_of, given)))
    return wanted, _changes(wanted, before)


def of_source(entries: FleetTopicEntries, source: str) -> dict[About, Written]:
    """What a source has written, whether it counts or not.

    Args:
        entries: What the topic says.
        source: Whose.
    """
    return {(each.entry.kind, each.entry.name): each for each in entries.all() if each.entry.source == source}


def removes_most(found: Iterable[Change], before: FleetTopicEntries, source: str) -> bool:
    """Whether more than half of the devices of a source would go.

    Args:
        found: What would be different.
        before: What the topic says.
        source: Whose devices.
    """
    had = sum(kind == "device" for kind, _ in of_source(before, source))
    gone = sum(each.what == "removed" and each.kind == "device" for each in found)
    return gone * 2 > had


def options_problems(devices: Iterable[Device]) -> dict[str, str]:
    """What is wrong with the adapters and options of devices, by device_id. A line names the device.

    Args:
        devices: Any.
    """
    problems = {}
    for device in devices:
        if device.via is None and not device.disabled:  # otherwise another entry's adapter reads its records
            try:
                check_entry(device.mode, device)
            except ConfigurationError as error:
                problems[device.device_id] = str(error)
    return problems


def still_named(sites: Collection[str], entries: Iterable[GivenEntry]) -> dict[str, str]:
    """Which of these sites devices name, by site, with the words for whose it is.

    Args:
        sites: Those that are to go.
        entries: Of the devices that stay as they are.
    """
    naming: dict[str, list[str]] = {}
    for each in entries:
        if each.kind == "device" and isinstance(each.fields, Mapping) and each.fields.get("site") in sites:
            naming.setdefault(each.fields["site"], []).append(str(each.name))
    return {
        site: "devices still name it: " + ", ".join(names[:EXAMPLES]) + (" …" if len(names) > EXAMPLES else "")
        for site, names in naming.items()
    }


def _problems(
    given: Sequence[GivenEntry], gone: Collection[About], source: str, before: FleetTopicEntries
) -> list[str]:
    """What is wrong with entries of a source beside what the others have, and with what it is to have no more."""
    owned = before.owned()
    problems: list[str] = []
    own: list[GivenEntry] = []
    for each in given:
        owner = owned.get((each.kind, each.name or ""))
        if owner is None or owner.entry.source == source:
            own.append(each)
            continue
        options = f"--source {source}" + ("" if each.kind == "device" else f" --kind {each.kind}")
        name = shlex.quote(owner.entry.name)
        problems.append(
            each.problem(
                f"it belongs to {whose(owner.entry.source)}; `punchstream fleet move {options} {name}` hands it over"
            )
        )
    placed = {about: each.as_entry() for about, each in owned.items()}
    left = [about for about in gone if about in owned and owned[about].entry.source == source]
    for about in left:
        del placed[about]
    new = {(each.kind, each.name) for each in own}
    stays = [each for about, each in placed.items() if about not in new]
    sites = {name for kind, name in left if kind == "site"}
    problems += [f"source {source}: site {site}: {why}" for site, why in still_named(sites, stays).items()]
    twice: list[GivenEntry] = []
    seen: dict[About, None] = {}
    for each in own:
        about = each.kind, each.name or ""
        if each.name is None or about in seen:
            twice.append(each)
        else:
            # In the place of what was, because of two that cannot both be right the earlier one is.
            placed[about] = each
            seen[about] = None
    fleet = compiled([*placed.values(), *twice])
    if fleet.problems:
        was = frozenset(compiled(each.as_entry() for each in owned.values()).problems)
        problems += [each for each in fleet.problems if each not in was]
    devices = [fleet.devices[name] for kind, name in seen if kind == "device" and name in fleet.devices]
    for name, why in options_problems(devices).items():
        problems.append(placed["device", name].problem(why.removeprefix(f"{name}: ")))
    return problems


def _changes(wanted: Wanted, before: FleetTopicEntries) -> list[Change]:
    own = of_source(before, wanted.source)
    found: list[Change] = []
    for (kind, name), fields in wanted.entries.items():
        written = own.get((kind, name))
        if fields is None:
            found += [Change("removed", kind, name)] if written is not None else []
        elif written is None:
            found.append(Change("added", kind, name))
        elif different := _different(written.entry.fields, fields):
            found.append(Change("changed", kind, name, different))
    return found


def _different(before: Fields, after: Fields) -> tuple[tuple[str, object, object], ...]:
    names = dict.fromkeys([*before, *after])
    return tuple((name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name))
