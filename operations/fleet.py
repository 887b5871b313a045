"""The fleet topic, read and written so that every reader ends with the same.

The order of the topic's one partition decides, and no clock: a writer reads the topic, writes, and reads it again. If
somebody else was first, it takes its own record back and says who.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog
from msgspec import structs

from attendance.errors import ConfigurationError, InvalidRecord
from attendance.fleet_entries import compiled
from attendance.fleet_topic import FleetTopicEntries, Written
from attendance.kafka.records import OutRecord
from attendance.records.fleet import FleetEntry, FleetKey, Kind, PauseKey
from attendance.registry import Registry
from attendance.wire import encode_json
from operations.fleet_plan import About, Change, Fields, Wanted, of_source, plan, still_named, whose
from operations.log import Log, Send, Skipped, take_all

SENT_AT_ONCE: Final = 500  # records: each batch has to be acknowledged within the time limit of one request
TRIES: Final = 20
"""Of a change that others who write the same entry keep overtaking."""

_WRITTEN: Final[Sequence[Kind]] = ("site", "device", "shift")
"""In this order, so that whoever reads half of it has no shift without its devices."""


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


async def write_planned(log: Log, wanted: Wanted, before: FleetTopicEntries, found: list[Change]) -> list[Change]:
    """Write what `plan` or `plan_source` has found, and see that it counts. As `write`.

    Args:
        log: The topics.
        wanted: The entries.
        before: What the topic said.
        found: What is different.
    """
    if not found:
        return found
    own = of_source(before, wanted.source)
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
    # Whoever adds a device of that name later knows nothing of a pause.
    gone = [each.name for each in removed if each.kind == "device" and each.name in before.pauses()]
    records += [OutRecord(topic, encode_json(PauseKey(name)), None) for name in gone]
    async with log.sending() as send:
        await _send(send, records)
        after = await read_fleet(log)
        lost = _lost(kept, wanted.source, after)
        owned = after.owned()
        named = still_named(
            {each.name for each in removed if each.kind == "site" and ("site", each.name) not in owned},
            [each.as_entry() for about, each in owned.items() if about not in wanted.entries],
        )
        if lost or named:
            back = [own["site", site].entry for site in named]
            back = [structs.replace(each, claimed=own["site", each.name].claimed) for each in back]
            await _send(send, [OutRecord(topic, each.key, each.encode()) for each in back])
            await _send(send, [_removal(topic, *about, wanted.source) for about in lost])
            problems = [f"{name}: {why}; it was not written" for (_, name), why in lost.items()]
            problems += [f"site {site}: {why}; it was not removed" for site, why in named.items()]
            raise ConfigurationError("\n".join(problems))
    return found


async def edit(
    log: Log, abouts: Collection[About], source: str, by: str, changed: Callable[[About, Fields], Fields]
) -> list[Change]:
    """Change fields of entries, safe with whoever changes others of their fields at the same moment.

    Args:
        log: The topics.
        abouts: Their kinds and names.
        source: Who writes.
        by: The operating system's user.
        changed: Makes the new fields of an entry of those that are there. It may be asked more than once.

    Returns:
        What is different now.

    Raises:
        ConfigurationError: there is no such entry, one belongs to another source, or the fleet would be wrong: then
            nothing was written. Or others were first with some of the entries, and the others are written.
        KafkaUnavailable: Kafka does not answer; the entries may be changed or not.
    """
    bases: dict[About, _Past] = {}
    found: dict[About, Change] = {}
    pending = list(dict.fromkeys(abouts))
    for _ in range(TRIES):
        before = await read_fleet(log)
        owned = before.owned()
        missing = [each for each in pending if each not in owned or (each in bases and bases[each].fields is None)]
        if missing:
            raise ConfigurationError("\n".join(map(no_such, missing)))
        for each in pending:
            bases.setdefault(each, _Past(owned[each].offset, owned[each].entry.fields))
        fields = {each: changed(each, bases[each].fields or {}) for each in pending}
        written = {(each.kind, each.name): each for each in await write(log, Wanted(source, by, fields), before)}
        found = written | found
        pending = []
        for about, past in (await _pasts(log, written, source)).items():
            ours = max((index for index, each in enumerate(past) if each.fields == fields[about]), default=0)
            if between := [each for each in past[:ours] if each.offset > bases[about].offset]:
                # Ours was made without knowing theirs, and stands in its place.
                bases[about] = _Past(past[ours].offset, between[-1].fields)
                pending.append(about)
        if not pending:
            break
    return list(found.values())


def no_such(about: About) -> str:
    """The sentence that says that the topic does not have an entry."""
    return f"{about[1]}: the fleet topic has no such {about[0]}"


async def move(log: Log, abouts: Collection[About], source: str, by: str) -> list[Change]:
    """Hand entries over to another source, which alone changes them from then on. They stay as they are.

    Args:
        log: The topics.
        abouts: Their kinds and names.
        source: To whom.
        by: The operating system's user.

    Returns:
        Those that were another's before.

    Raises:
        ConfigurationError: there is no such entry, or somebody else took it at the same moment.
        KafkaUnavailable: Kafka does not answer; each entry may be handed over or not.
    """
    owned = (await read_fleet(log)).owned()
    if unknown := [each for each in abouts if each not in owned]:
        raise ConfigurationError("\n".join(map(no_such, unknown)))
    moved = [owned[each] for each in dict.fromkeys(abouts) if owned[each].entry.source != source]
    topic = log.topics["fleet"]
    async with log.sending() as send:
        # First the new ones, so that the entries are there all the time.
        await _send(send, [_handed_over(topic, each, source, by) for each in moved])
        await _send(send, [OutRecord(topic, each.entry.key, None) for each in moved])
    after = (await read_fleet(log)).owned()
    problems = []
    for each in moved:
        owner = after.get((each.entry.kind, each.entry.name))
        if owner is None or owner.entry.source != source:
            of = "nobody's" if owner is None else f"of {whose(owner.entry.source)}"
            problems.append(f"{each.entry.name}: somebody else has just moved it; it is {of}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return [
        Change("moved", each.entry.kind, each.entry.name, (("source", each.entry.source, source),)) for each in moved
    ]


class _Past(NamedTuple):
    """What an entry once said; None where it was removed."""

    offset: int
    fields: Fields | None


async def _pasts(log: Log, abouts: Collection[About], source: str) -> dict[About, list[_Past]]:
    """All that the topic still has of entries of one source, in order."""
    of = {encode_json(FleetKey(*about, source)): about for about in abouts}
    pasts: dict[About, list[_Past]] = {}
    if not of:
        return pasts
    async for batch in log.read("fleet"):
        for record in batch:
            about = of.get(record.key or b"")
            if about is None:
                continue
            with suppress(InvalidRecord):
                fields = None if record.value is None else FleetEntry.decode(record.key, record.value).fields
                pasts.setdefault(about, []).append(_Past(record.offset, fields))
    return pasts


def _lost(kept: Iterable[Change], source: str, after: FleetTopicEntries) -> dict[About, str]:
    """What was written and does not count, and why."""
    owned = after.owned()
    wrong: dict[About, str] = {}
    if any(each.what == "added" for each in kept):
        fleet = compiled(each.as_entry() for each in owned.values())
        wrong = {(each.kind, each.name or ""): why for each, why in fleet.wrong}
    lost: dict[About, str] = {}
    for each in kept:
        owner = owned.get((each.kind, each.name))
        if owner is not None and owner.entry.source != source:
            lost[each.kind, each.name] = f"{whose(owner.entry.source)} has just written it"
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


def _handed_over(topic: str, written: Written, source: str, by: str) -> OutRecord:
    times = written.entry.handed_over + 1
    entry = structs.replace(written.entry, source=source, by=by, claimed=written.claimed, handed_over=times)
    return OutRecord(topic, entry.key, entry.encode())


def _removal(topic: str, kind: Kind, name: str, source: str) -> OutRecord:
    return OutRecord(topic, encode_json(FleetKey(kind, name, source)), None)


async def _send(send: Send, records: Sequence[OutRecord]) -> None:
    for begin in range(0, len(records), SENT_AT_ONCE):
        await send(*records[begin : begin + SENT_AT_ONCE])
