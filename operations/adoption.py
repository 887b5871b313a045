"""`topics adopt`: have Punchstream go on with topics whose records have other offsets now, as after a restore.

Which record is which is found by what the topics say of each other: outcomes name the place and the event of a raw
record, dead letters hold the record that failed, and accounts have its fingerprint. Nothing is rewritten. One record is
written, the adoption, and by that every reader knows where the records are that older ones name (ADR 0050).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from attendance.accounts import is_fingerprint_of
from attendance.adoptions import next_of
from attendance.errors import ConfigurationError
from attendance.kafka.records import OutRecord
from attendance.records.account import Account, Adoption, Ended, Moved
from attendance.times import now
from attendance.topics import TABLE, Name, Topics
from operations.adoption_traits import ALIGNED, NAMING, KnownRecords
from operations.alignment import NotKnownAgainError, NotUniqueError, Run, align
from operations.audit_accounts import COUNTED, SEEN, STAGE, STAGES, Accounts, Range
from operations.log import Log

RUNNING: Final = ("stream", "waiting", "sink")
"""The groups whose members would go on with places of before."""


@dataclass(slots=True)
class Plan:
    """What an adoption does.

    Attributes:
        moved: Where records are now.
        ended: Where every partition ends.
        earlier: Where they ended at the adoptions before.
        missing: By partition (`TOPIC:PARTITION`), which offsets of before are not there.
        undecided: By partition, from which offset on of today the stream would have to decide again: what is there has
            no outcome. And how many records that are.
        commits: By topic and stage, where its group goes on in each partition.
        is_elsewhere: Whether any record is not as an account has it.
        decided_again: The partitions of the changelog that lack their end, so that the stream goes back.
        open_again: The partitions of dead letters of which none is known again.
        cut: Accounts up to where the stream goes back to, and of what is empty.
    """

    moved: list[Moved] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    missing: dict[str, list[Range]] = field(default_factory=dict)
    undecided: dict[str, tuple[int, int]] = field(default_factory=dict)
    commits: dict[Name, dict[int, int]] = field(default_factory=dict)
    is_elsewhere: bool = False
    earlier: tuple[tuple[Ended, ...], ...] = ()
    decided_again: list[str] = field(default_factory=list)
    open_again: list[str] = field(default_factory=list)
    cut: list[Account] = field(default_factory=list)

    @property
    def records_missing(self) -> int:
        """How many records are known of that are not there."""
        return sum(through - first for ranges in self.missing.values() for first, through in ranges)

    def lines(self, topics: Topics) -> Iterator[str]:
        """What it does, a line for each run of records, for people.

        Args:
            topics: The full names.
        """
        for each in self.moved:
            if each.first == each.through:
                continue
            by = "as they were" if each.first == each.now else f"now from {each.now} on"
            yield f"{each.topic}:{each.partition}: offsets {each.first} to {each.through - 1} are there, {by}"
        for of, ranges in self.missing.items():
            for first, through in ranges:
                yield f"{of}: offsets {first} to {through - 1} of before are not there"
        for of in self.open_again:
            yield f"{of}: no letter is known again, so what was done about them does not count any more"
        for of in self.decided_again:
            yield f"{of}: its end is not there; the stream decides again what it had kept then"
        for of, (first, count) in self.undecided.items():
            yield f"{of}: {count} of the records from offset {first} on have no outcome"
        for name, offsets in self.commits.items():
            for number, offset in sorted(offsets.items()):
                yield f"{topics[name]}:{number}: {STAGES[name]} goes on at offset {offset}"


async def adopt(
    log: Log,
    *,
    note: str,
    by: str,
    dry_run: bool = False,
    missing: int = 0,
    decide_again: bool = False,
) -> Plan:
    """Find where records are now, and have every stage and command go on there.

    Args:
        log: The topics.
        note: Why that is right.
        by: Who decides.
        dry_run: Whether only to look.
        missing: How many records that are not there are accepted as lost: exactly those that are missing.
        decide_again: Whether the stream decides what has no outcome again, and all that came after it.

    Returns:
        What was done, or would be.

    Raises:
        ConfigurationError: Stages run, nothing was restored, or it is not certain which record is which.
        KafkaUnavailable: Kafka does not answer; it does no harm to begin anew.
    """
    if not note.strip() and not dry_run:
        raise ConfigurationError("--note: say what was restored, and from where")
    for group in RUNNING:
        if running := await log.members(group):
            raise ConfigurationError(
                f"{group} is running ({', '.join(sorted(set(running)))}); stop every stage, and adopt then"
            )
    plan = await make_plan(log)
    if dry_run:
        return plan
    _check(plan, missing=missing, decide_again=decide_again)
    at = now()
    found = tuple(plan.moved), tuple(plan.ended), plan.records_missing, plan.earlier
    adoption = Adoption(at, by, note.strip(), *found)
    # First where the groups go on: whoever starts before the adoption is there stands still.
    for name, offsets in plan.commits.items():
        await log.commit(name, STAGES[name], offsets)
    async with log.sending() as send:
        accounts = log.topics["accounts"]
        await send(
            OutRecord(accounts, adoption.key, adoption.encode()),
            *(OutRecord(accounts, each.key, each.encode()) for each in plan.cut),
        )
    return plan


def _check(plan: Plan, *, missing: int, decide_again: bool) -> None:
    if plan.records_missing != missing:
        said = "; ".join(f"{of} {_ranges(ranges)}" for of, ranges in plan.missing.items()) or "none is missing"
        raise ConfigurationError(
            f"--missing {missing}: {plan.records_missing} records of before are not there: {said}. Restore them, or "
            f"give --missing {plan.records_missing}, which accepts that they are lost"
        )
    if plan.undecided and not decide_again:
        said = ", ".join(f"{count} in {of} from offset {first} on" for of, (first, count) in plan.undecided.items())
        raise ConfigurationError(
            f"raw records have no outcome, although the stream has gone past them: {said}. They came before the rest "
            "was restored, or their outcomes were not restored; --decide-again has the stream go back to them"
        )


def _ranges(ranges: Sequence[Range]) -> str:
    return ", ".join(f"offsets {first} to {through - 1}" for first, through in ranges)


async def make_plan(log: Log) -> Plan:
    """Find where records are now.

    Args:
        log: The topics.

    Raises:
        ConfigurationError: Nothing was restored, or it is not certain which record is which.
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    accounts = Accounts()
    await accounts.read(log)
    if not accounts.has_any(log.topics):
        raise ConfigurationError(
            f"{log.topics['accounts']} has no account of a topic of this prefix: restore that topic too, and keep the "
            "names of topics"
        )
    plan = Plan()
    extents = {name: await log.extents(name) for name in NAMING}
    with KnownRecords(accounts) as records:
        await records.fill(log)
        for name, partitions in extents.items():
            for number, (_, end) in sorted(partitions.items()):
                plan.ended.append(Ended(log.topics[name], number, end, records.last(name, number)))
        plan.earlier = records.earlier
        for name in ALIGNED:
            for number, (first, _) in sorted(extents[name].items()):
                _plan_partition(plan, log, records, accounts, name, number, first)
        _go_back_for_changelog(plan, log, records)
    for name, stage in STAGES.items():
        known = {each.partition for each in accounts.all_of(log.topics[name]) if each.stage == stage}
        # A stage commits where such a partition begins, a minute before it accounts for that.
        empty = {number: at for number, (at, end) in extents[name].items() if 0 < at == end and number not in known}
        for number, at in empty.items():
            plan.cut.append(Account(stage, log.topics[name], number, at, at, now()))
            plan.commits.setdefault(name, {}).setdefault(number, at)
    plan.is_elsewhere = plan.is_elsewhere or await _is_elsewhere(log, accounts)
    named = {log.topics["raw"], log.topics["checkins"]}
    if not any(each.topic in named and each.first < each.through for each in plan.moved):
        raise ConfigurationError("nothing was restored: no record is there that was there before")
    if not plan.is_elsewhere and not plan.missing and not plan.decided_again:
        raise ConfigurationError("every record is where it was, so there is nothing to adopt; start the stages")
    return plan


def _plan_partition(
    plan: Plan, log: Log, records: KnownRecords, accounts: Accounts, name: Name, number: int, first: int
) -> None:
    topic = log.topics[name]
    mine = [each for each in accounts.all_of(topic) if each.partition == number]
    stage = next((each for each in mine if each.stage == STAGES.get(name)), None)
    begin = min((each.first for each in mine), default=accounts.began(topic, number))
    keeps_all = TABLE[name].keeps_forever
    begin = max(begin, records.changelog_begins(name, number))
    known_end = max([records.end(name, number), *(max(each.through, each.end or 0) for each in mine)])
    try:
        # Of a topic of which nothing may go, the first record is the first one, whoever names it. And where nothing is
        # known of any record, a stage has done its work for none.
        at = begin if keeps_all else None if stage is None else stage.through
        whole = None if stage is None else (stage.through, known_end)
        runs = align(records.known(name, number), records.restored(name, number), at, whole)
    except NotKnownAgainError as error:
        if name == "dead_letters":
            plan.open_again.append(f"{topic}:{number}")
            return
        if not isinstance(error, NotUniqueError):
            raise ConfigurationError(
                f"{topic}:{number}: the record at offset {error.offset} was not there before, or is there twice; "
                "restore into an empty topic, in the order of the copy, and let nothing be written before"
            ) from None
        raise ConfigurationError(
            f"{topic}:{number}: it is not certain which records those from offset {error.offset} on are; restore the "
            "topic as a whole, or from one copy"
        ) from None
    if name == "dead_letters" and not runs and known_end:
        plan.open_again.append(f"{topic}:{number}")
        return
    done = stage.through if stage is not None else runs[0].first if runs else known_end
    if not runs and stage is not None:
        runs = [Run(done, done, first)]
    lost = _missing(runs, begin if keeps_all else done, known_end)
    if lost:
        plan.missing[f"{topic}:{number}"] = lost
    moved = [Moved(topic, number, *run) for run in runs]
    plan.moved += moved
    plan.is_elsewhere = plan.is_elsewhere or any(run.first != run.now for run in runs)
    if name in STAGES:
        at = records.goes_on(name, number, runs, next_of(moved, done) if runs else first)
        if stage is not None or at > first:
            plan.commits.setdefault(name, {})[number] = at
        if name == "raw":
            _look_for_undecided(plan, topic, records, number, runs, first)


def _look_for_undecided(
    plan: Plan, topic: str, records: KnownRecords, number: int, runs: Sequence[Run], first: int
) -> None:
    """Have the stream go back to what has no outcome, for nobody accounts for that."""
    found = records.undecided(number, runs, plan.commits.get("raw", {}).get(number, first))
    if found is not None:
        at, _ = plan.undecided[f"{topic}:{number}"] = found
        plan.commits["raw"][number] = at
        plan.cut += (Account(stage, topic, number, min(first, at), at, now()) for stage in ("stream", STAGE, SEEN))


def _go_back_for_changelog(plan: Plan, log: Log, records: KnownRecords) -> None:
    """Where the changelog lacks its end, have the stream decide again what it had kept there: so nothing is lost."""
    for number, at in plan.commits.get("raw", {}).items():
        of = f"{log.topics['dedup_state']}:{number}"
        end = max((each.through for each in plan.moved if f"{each.topic}:{each.partition}" == of), default=0)
        tail = [each for each in plan.missing.get(of, []) if each[0] == end]
        if not tail:
            continue
        raw = [each for each in plan.moved if f"{each.topic}:{each.partition}" == f"{log.topics['raw']}:{number}"]
        plan.commits["raw"][number] = min(at, next_of(raw, records.kept_through(number)))
        plan.decided_again.append(of)
        plan.missing[of] = [each for each in plan.missing[of] if each not in tail]
        if not plan.missing[of]:
            del plan.missing[of]


async def _is_elsewhere(log: Log, accounts: Accounts) -> bool:
    """Whether any record by which a partition is known again is not where it was."""
    for name in (*COUNTED, "dedup_state"):
        mine = [each for each in accounts.all_of(log.topics[name]) if each.identity is not None]
        places = {(each.partition, each.identity.offset) for each in mine if each.identity is not None}
        found = await log.at(name, sorted(places)) if places else {}
        first = {number: at for number, (at, _) in (await log.extents(name)).items()} if places else {}
        for each in mine:
            assert each.identity is not None
            record = found.get((each.partition, each.identity.offset))
            is_gone = record is None and each.identity.offset >= first.get(each.partition, 0)
            if is_gone or (record is not None and not is_fingerprint_of(each.identity, record)):
                return True
    return False


def _missing(runs: Sequence[Run], begin: int, end: int) -> list[Range]:
    """What is not there: before the first run only what nobody has accounted for, and all between and behind them."""
    if not runs:
        return [(begin, end)] if begin < end else []
    found = [(begin, runs[0].first)] + [(before.through, after.first) for before, after in pairwise(runs)]
    return [each for each in (*found, (runs[-1].through, end)) if each[0] < each[1]]
