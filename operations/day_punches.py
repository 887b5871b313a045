"""The punches of a device on a day, each counted once, and what became of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from attendance.errors import Reason
from attendance.times import from_milliseconds
from operations.dead_letters import State, state_of
from operations.facts import ActionFact, CheckinFact, DeliveryFact, Fact, LetterFact, RawFact
from operations.journeys import Journey, journeys
from operations.trace import RAW_SUFFIX, Asked
from sinks.completeness.watermark import SequenceNumbers

Became = Literal[
    "delivered", "superseded", "undelivered", "undecided", "waiting", "dead_lettered", "discarded", "dropped"
]
"""What became of a punch:

delivered      the target has it
superseded     a correction took its place
undelivered    on its way to the target
undecided      the stream has not decided
waiting        it waits
dead_lettered  it failed, and nobody has discarded it
discarded      it failed or waited, and somebody discarded it
dropped        each of its records is a duplicate or a repeat of another punch
"""

_ORDER: Final[Sequence[Became]] = (
    "delivered",
    "superseded",
    "undelivered",
    "undecided",
    "waiting",
    "dead_lettered",
    "discarded",
    "dropped",
)


@dataclass(frozen=True, slots=True)
class Punch:
    """One punch.

    Attributes:
        name: Its event id; of a raw record that cannot be read, where that is.
        became: What became of it.
        deliveries: What the target answered.
        checkins: What was sent to it.
    """

    name: str
    became: Became
    deliveries: Sequence[DeliveryFact] = ()
    checkins: Sequence[CheckinFact] = ()


@dataclass(slots=True)
class DayPunches:
    """What the topics have of a device on a day.

    Attributes:
        raw: How many raw records, with copies.
        punches: Each punch once.
        rejected: The dead letters of what never became a raw record, and nobody has settled: where each is.
        settled: How many such letters somebody has replayed or discarded.
        numbers_missing: The device's own record numbers that are missing between others, from the one to the other.
    """

    raw: int = 0
    punches: list[Punch] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    settled: int = 0
    numbers_missing: list[tuple[int, int]] = field(default_factory=list)

    @property
    def ids(self) -> frozenset[str]:
        """The event ids."""
        return frozenset(each.name for each in self.punches)

    def that(self, became: Became) -> list[str]:
        """The names of the punches of which this became."""
        return [each.name for each in self.punches if each.became == became]

    def delivered_to(self, target: str) -> list[Punch]:
        """The punches that a target is to have."""
        return [
            punch
            for punch in self.punches
            if punch.became == "delivered" and any(each.target == target for each in punch.deliveries)
        ]


def day_punches(facts: Sequence[Fact], asked: Asked) -> dict[str, DayPunches]:
    """What the facts say of each device.

    Args:
        facts: All that a source has of what is asked.
        asked: Devices and a day.

    Returns:
        By device; each that is asked about is there.
    """
    found = {device_id: DayPunches() for device_id in asked.zones}
    of_facts = _Facts(facts)
    by_name: dict[tuple[str, str], list[Journey]] = defaultdict(list)
    for journey in journeys(facts):
        raw = journey.raw
        found[raw.device_id].raw += 1
        by_name[raw.device_id, raw.event_id or f"{raw.kafka_partition}:{raw.kafka_offset}"].append(journey)
    for (device_id, name), its in by_name.items():
        found[device_id].punches.append(of_facts.punch(name, its))
    for letter in of_facts.letters:
        if asked.is_rejected(letter):
            of = found[letter.device_id or ""]
            if of_facts.action(letter) is None:
                of.rejected.append(_place(letter))
            else:
                of.settled += 1
    for device_id, missing in _numbers_missing(facts).items():
        found[device_id].numbers_missing = missing
    return found


class _Facts:
    """What is asked of the facts beside journeys."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.letters: list[LetterFact] = []
        self._deliveries: dict[str, list[DeliveryFact]] = defaultdict(list)
        self._checkins: dict[str, list[CheckinFact]] = defaultdict(list)
        self._superseded: set[str] = set()
        self._actions: dict[tuple[int, int], ActionFact] = {}
        for each in facts:
            match each:
                case LetterFact():
                    self.letters.append(each)
                case DeliveryFact():
                    self._deliveries[each.event_id].append(each)
                case CheckinFact():
                    self._checkins[each.event_id].append(each)
                    self._superseded |= {each.supersedes} if each.supersedes is not None else set()
                case ActionFact():
                    of = each.letter_partition, each.letter_offset
                    if of not in self._actions or self._actions[of].done_at <= each.done_at:
                        self._actions[of] = each

    def action(self, letter: LetterFact) -> str | None:
        """The newest that somebody did about a letter."""
        found = self._actions.get((letter.kafka_partition, letter.kafka_offset))
        return None if found is None else found.action

    def punch(self, name: str, its: Sequence[Journey]) -> Punch:
        """A punch, of the journeys of all of its records."""
        became = min((self._became(name, each) for each in its), key=_ORDER.index)
        return Punch(name, became, self._deliveries[name], self._checkins[name])

    def _became(self, name: str, journey: Journey) -> Became:
        if journey.outcome == "delivered" and name in self._superseded:
            return "superseded"
        if journey.outcome == "dead_lettered" and self._is_discarded(name, journey.raw):
            return "discarded"
        if journey.outcome == "discarded_waiting":
            return "discarded"
        return journey.outcome

    def _is_discarded(self, name: str, raw: RawFact) -> bool:
        place = RAW_SUFFIX, raw.kafka_partition, raw.kafka_offset
        its = [
            each
            for each in self.letters
            if each.event_id == name or (each.failed_topic, each.failed_partition, each.failed_offset) == place
        ]
        return bool(its) and all(
            state_of(Reason(each.reason), self.action(each), each.replay_count) is State.DISCARDED for each in its
        )


def _numbers_missing(facts: Iterable[Fact]) -> dict[str, list[tuple[int, int]]]:
    counts: dict[str, SequenceNumbers] = defaultdict(SequenceNumbers)
    # As the records came. A copy or a correction is no record of the device's.
    raw = (each for each in facts if isinstance(each, RawFact))
    for each in sorted(raw, key=lambda fact: (fact.kafka_partition, fact.kafka_offset)):
        if each.sequence is not None and each.supersedes is None and each.copy_partition is None:
            at = from_milliseconds(each.stored_at)
            dated = None if each.event_time is None else from_milliseconds(each.event_time)
            counts[each.device_id].add(each.sequence, dated, at)
    runs = {device_id: numbers.counted.runs for device_id, numbers in counts.items()}
    return {
        device_id: [(before.last + 1, after.first - 1) for before, after in pairwise(its)]
        for device_id, its in runs.items()
    }


def _place(letter: LetterFact) -> str:
    return f"{letter.kafka_partition}:{letter.kafka_offset}"
