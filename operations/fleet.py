"""Changes of the fleet topic: what they would come to, and writing them so that every reader ends with the same.

The order of the topic's one partition decides, and no clock: a writer reads the topic, writes, and reads it again. If
somebody else was first, it takes its own record back and says who.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import structlog
from msgspec import structs

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.fleet_entries import MODELS, NAMED_BY, GivenEntry, compiled
from attendance.fleet_topic import FleetTopicEntries, Written
from attendance.kafka.records import OutRecord
from attendance.records.fleet import FleetEntry, FleetKey, Kind
from attendance.registry import Registry
from attendance.wire import encode_json
from operations.log import Log, Skipped, take_all
from producers.devices import check_entry

COMMAND: Final = "command"
"""The source of what `punchstream fleet add`, `set`, `disable` and `remove` write."""
APPROVAL: Final = "approval"
"""The source of what `punchstream devices approve` writes."""
SENT_AT_ONCE: Final = 500  # records: each batch has to be acknowledged within the time limit of one request
TRIES: Final = 20
"""Of a change that others who write the same entry keep overtaking."""

_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}")
_WRITTEN: Final[Sequence[Kind]] = ("site", "device", "shift")
"""In this order, so that whoever reads half of it has no shift without its devices."""

About = tuple[Kind, str]
Fields = Mapping[str, Any]


class Change(NamedTuple):
    """What becomes of one entry. `fields` names what is different, as the name, what was, and what will be."""

    what: Literal["added", "changed", "removed"]
    kind: Kind
    name: str
    fields: tuple[tuple[str, object, object], ...] = ()

    def __str__(self) -> str:
        sign = {"added": "+", "changed": "~", "removed": "-"}[self.what]
        shown = ", ".join(f"{name}: {_value(before)} -> {_value(after)}" for name, before, after in self.fields)
        return f"{sign} {self.kind} {self.name}" + (f": {shown}" if self.what == "changed" else "")


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


async def read_fleet(log: Log) -> FleetTopicEntries:
    """What the fleet topic says now. What cannot be read is logged in one line.

    Args:
        log: The topics.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    entries, skipped = FleetTopicEntries(), Skipped()
    await take_all(log, "fleet", entries.take, skipped)
    entries.caught_up.set()
    for line in skipped.lines():
        structlog.get_logger(__name__).error(line)
    return entries


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


def whole_source(entries: Iterable[GivenEntry], before: FleetTopicEntries, source: str, by: str) -> Wanted:
    """What a source is to have that has these entries and no others.

    Args:
        entries: All of the source, right by themselves.
        before: What the topic says.
        source: Whose they are.
        by: Who writes.
    """
    wanted: dict[About, Fields | None] = {
        (each.entry.kind, each.entry.name): None for each in before.all() if each.entry.source == source
    }
    return Wanted(source, by, wanted | dict(map(fields_of, entries)))


def changes(wanted: Wanted, before: FleetTopicEntries) -> list[Change]:
    """What would be different. An entry that stays as it is is not among them.

    Args:
        wanted: The entries.
        before: What the topic says.

    Raises:
        ConfigurationError: an entry belongs to another source; a line for each says to which.
    """
    own = _of_source(before, wanted.source)
    owned = before.owned()
    clashes = [
        f"{name} ({kind}): it belongs to the source {owned[kind, name].entry.source}; `punchstream fleet move"
        f" --source {wanted.source} {name}` hands it over"
        for kind, name in wanted.entries
        if (kind, name) in owned
        and owned[kind, name].entry.source != wanted.source
        and wanted.entries[kind, name] is not None
    ]
    if clashes:
        raise ConfigurationError("\n".join(clashes))
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


def removes_most(found: Iterable[Change], before: FleetTopicEntries, source: str) -> bool:
    """Whether more than half of the devices of a source would go.

    Args:
        found: What would be different.
        before: What the topic says.
        source: Whose devices.
    """
    had = sum(kind == "device" for kind, _ in _of_source(before, source))
    gone = sum(each.what == "removed" and each.kind == "device" for each in found)
    return gone * 2 > had


def check(wanted: Wanted, before: FleetTopicEntries) -> None:
    """Refuse a change that would make the fleet wrong where it is right.

    Args:
        wanted: The entries.
        before: What the topic says.

    Raises:
        ConfigurationError: a line for each fault.
    """
    owned = {about: each.as_entry() for about, each in before.owned().items()}
    was = compiled(owned.values())
    for (kind, name), fields in wanted.entries.items():
        if fields is None:
            owned.pop((kind, name), None)
        else:
            given = {NAMED_BY[kind]: name, **fields}
            owned[kind, name] = GivenEntry(kind, given, f"source {wanted.source}", f"{kind} {name}")
    fleet = compiled(owned.values())
    problems = [each for each in fleet.problems if each not in was.problems]
    problems += options_problems(
        device for device in fleet.devices.values() if wanted.entries.get(("device", device.device_id)) is not None
    )
    if problems:
        raise ConfigurationError("\n".join(problems))


def options_problems(devices: Iterable[Device]) -> list[str]:
    """What is wrong with the adapters and options of devices, a sentence for each.

    Args:
        devices: Any.
    """
    problems = []
    for device in devices:
        if device.via is None and not device.disabled:  # otherwise another entry's adapter reads its records
            try:
                check_entry(device.mode, device)
            except ConfigurationError as error:
                problems.append(str(error))
    return problems


async def write(log: Log, wanted: Wanted, before: FleetTopicEntries) -> list[Change]:
    """Write what is different, and see that it counts.

    Args:
        log: The topics.
        wanted: The entries.
        before: What the topic said.

    Returns:
        What is different now.

    Raises:
        ConfigurationError: an entry belongs to another source, or the fleet would be wrong; nothing was written. Or
            somebody else was first with some of the entries: those are as theirs, and the others are written.
        KafkaUnavailable: Kafka does not answer; each entry may be written or not.
    """
    return await write_planned(log, wanted, before, plan(wanted, before))


def plan(wanted: Wanted, before: FleetTopicEntries) -> list[Change]:
    """What `write` would change.

    Args:
        wanted: The entries.
        before: What the topic says.

    Raises:
        ConfigurationError: an entry belongs to another source, or the fleet would be wrong; a line for each.
    """
    found = changes(wanted, before)
    check(wanted, before)
    return found


async def write_planned(log: Log, wanted: Wanted, before: FleetTopicEntries, found: list[Change]) -> list[Change]:
    """Write what `plan` has found, and see that it counts. As `write`.

    Args:
        log: The topics.
        wanted: The entries.
        before: What the topic said.
        found: What is different.
    """
    own = _of_source(before, wanted.source)
    removed = [each for each in found if each.what == "removed"]
    kept = [each for each in found if each.what != "removed"]
    topic = log.topics["fleet"]
    records = [_removal(topic, each.kind, each.name, wanted.source) for each in removed if each.kind == "shift"]
    for kind in _WRITTEN:
        for each in kept:
            if each.kind == kind:
                entry = _entry(each, wanted, own.get((kind, each.name)))
                records.append(OutRecord(topic, entry.key, entry.encode()))
    records += [_removal(topic, each.kind, each.name, wanted.source) for each in removed if each.kind != "shift"]
    async with log.sending() as send:
        for begin in range(0, len(records), SENT_AT_ONCE):
            await send(*records[begin : begin + SENT_AT_ONCE])
        after = await read_fleet(log)
        if lost := _lost(kept, wanted.source, after):
            await send(*(_removal(topic, *about, wanted.source) for about in lost))
            raise ConfigurationError("\n".join(f"{name}: {why}; it was not written" for (_, name), why in lost.items()))
    return found


async def edit(log: Log, about: About, source: str, by: str, changed: Callable[[Fields], Fields]) -> Change | None:
    """Change fields of one entry, safe with whoever changes others of its fields at the same moment.

    Args:
        log: The topics.
        about: Kind and name.
        source: Who writes.
        by: The operating system's user.
        changed: Makes the new fields of those that are there. It may be asked more than once.

    Returns:
        What is different now; None if nothing is.

    Raises:
        ConfigurationError: there is no such entry, it belongs to another source, or the fleet would be wrong.
        KafkaUnavailable: Kafka does not answer; the entry may be changed or not.
    """
    base: _Past | None = None
    found: list[Change] = []
    for _ in range(TRIES):
        before = await read_fleet(log)
        owner = before.owned().get(about)
        if owner is None or (base is not None and base.fields is None):
            raise ConfigurationError(f"{about[1]}: the fleet topic has no such {about[0]}")
        if base is None:
            base = _Past(owner.offset, owner.entry.fields)
        fields = changed(base.fields or {})
        written = await write(log, Wanted(source, by, {about: fields}), before)
        found = found or written
        if not written:
            break
        past = await _past(log, FleetKey(*about, source))
        ours = max((index for index, each in enumerate(past) if each.fields == fields), default=0)
        between = [each for each in past[:ours] if each.offset > base.offset]
        if not between:
            break
        # Ours was made without knowing theirs, and stands in its place.
        base = _Past(past[ours].offset, between[-1].fields)
    return found[0] if found else None


class _Past(NamedTuple):
    """What an entry once said; None where it was removed."""

    offset: int
    fields: Fields | None


async def _past(log: Log, key: FleetKey) -> list[_Past]:
    """All that the topic still has of one entry of one source, in order."""
    past = []
    async for batch in log.read("fleet"):
        for record in batch:
            if record.key == encode_json(key):
                value = record.value
                fields = None if value is None else FleetEntry.decode(record.key, value).fields
                past.append(_Past(record.offset, fields))
    return past


def _lost(kept: Iterable[Change], source: str, after: FleetTopicEntries) -> dict[About, str]:
    """What was written and does not count, and why."""
    owned = after.owned()
    fleet = compiled(each.as_entry() for each in owned.values())
    wrong = {(each.kind, each.name): why for each, why in fleet.wrong}
    lost: dict[About, str] = {}
    for each in kept:
        owner = owned.get((each.kind, each.name))
        if owner is not None and owner.entry.source != source:
            lost[each.kind, each.name] = f"the source {owner.entry.source} has just written it"
        elif each.what == "added" and (each.kind, each.name) in wrong:
            lost[each.kind, each.name] = f"somebody else has just changed the fleet: {wrong[each.kind, each.name]}"
    return lost


def _entry(change: Change, wanted: Wanted, before: Written | None) -> FleetEntry:
    fields = wanted.entries[change.kind, change.name]
    assert fields is not None
    entry = FleetEntry(change.kind, change.name, wanted.source, fields, wanted.by)
    if before is None:
        return entry
    return structs.replace(entry, claimed=before.claimed, handed_over=before.entry.handed_over)


def _removal(topic: str, kind: Kind, name: str, source: str) -> OutRecord:
    return OutRecord(topic, encode_json(FleetKey(kind, name, source)), None)


def _of_source(entries: FleetTopicEntries, source: str) -> dict[About, Written]:
    return {(each.entry.kind, each.entry.name): each for each in entries.all() if each.entry.source == source}


def _different(before: Fields, after: Fields) -> tuple[tuple[str, object, object], ...]:
    names = dict.fromkeys([*before, *after])
    return tuple((name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name))


async def move(log: Log, names: Sequence[str], source: str, by: str) -> list[str]:
    """Hand devices over to another source, which alone changes them from then on. Their entries stay as they are.

    Args:
        log: The topics.
        names: Their device_ids.
        source: To whom.
        by: The operating system's user.

    Returns:
        Those that were another's before.

    Raises:
        ConfigurationError: there is no such device, or somebody else took it at the same moment.
        KafkaUnavailable: Kafka does not answer; each device may be handed over or not.
    """
    owned = (await read_fleet(log)).owned()
    if unknown := [name for name in names if ("device", name) not in owned]:
        raise ConfigurationError("\n".join(f"{name}: the fleet topic has no such device" for name in unknown))
    moved = [owned["device", name] for name in dict.fromkeys(names) if owned["device", name].entry.source != source]
    topic = log.topics["fleet"]
    async with log.sending() as send:
        for written in moved:
            entry = structs.replace(
                written.entry,
                source=source,
                by=by,
                claimed=written.claimed,
                handed_over=written.entry.handed_over + 1,
            )
            # First the new one, so that the device is there all the time.
            await send(OutRecord(topic, entry.key, entry.encode()))
            await send(OutRecord(topic, written.entry.key, None))
    after = (await read_fleet(log)).owned()
    for written in moved:
        owner = after.get(("device", written.entry.name))
        if owner is None or owner.entry.source != source:
            whose = "nobody's" if owner is None else f"of the source {owner.entry.source}"
            raise ConfigurationError(f"{written.entry.name}: somebody else has just moved it; it is {whose}")
    return [written.entry.name for written in moved]


async def learn_fleet(log: Log, registry: Registry, skipped: Skipped) -> None:
    """Give a registry what the fleet topic says now.

    Args:
        log: The topics.
        registry: Whose fleet it becomes.
        skipped: Counts what cannot be read.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    await take_all(log, "fleet", registry.topic.take, skipped)
    registry.topic.caught_up.set()
    registry.refresh()
