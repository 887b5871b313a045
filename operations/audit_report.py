"""What an audit found."""

from dataclasses import asdict, dataclass, field
from typing import Final

from msgspec import to_builtins

from attendance.records.account import AcceptedLoss, Adoption
from attendance.times import format_milliseconds
from operations.audit_topics import TopicFault
from operations.erpnext_repairs import Change
from operations.in_erpnext import Finding
from operations.log import Skipped

NAMED: Final = 20  # so many ids of each problem are listed


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit found, counted in raw records.

    `raw` = `delivered` + `dropped` + `waiting` + `dead_lettered` + `discarded_waiting` + `accounted_before` +
    `undelivered` + `undecided` + `outcome_gone`. `discarded_waiting` were discarded while they waited. The last three
    have no outcome: that of `outcome_gone` may have been removed before an audit counted it; that of `accounted_before`
    was removed after that. `older_undelivered` names check-ins without an outcome whose raw record was removed. The
    lists name the first few `event_id`s, or all, or `partition:offset` where a record has none.
    `sent_again` counts, by topic, the records that were to repair this; what became of them is not in this report.
    `skipped` are the records that nobody can read.

    `not_there` says what was asked about and is not there, so that nothing was looked at.

    `faults` are what was removed and not accounted for, `configuration` what is set so that records are lost;
    `accepted` and `adoptions` what people have accepted. `counted_from` has the partitions whose beginning was removed
    after it was accounted for, and where they begin.

    `refused` counts dead letters of what never became a raw event. Of those, `read_again` were read again, so that what
    was understood of them is among the raw records, and `discarded` were set aside. `unread` names the others, with
    which nobody has done anything.

    Where ERPNext was asked, `missing_in_target` names what it does not hold, `deleted_in_target` who deleted what of
    that; the lists of findings name documents. What is off shift is no problem of the delivery. `times_compared` is
    False where the zone of ERPNext is in doubt, `deletions_known` where ERPNext does not show what was deleted.
    """

    raw: int = 0
    delivered: int = 0
    dropped: int = 0
    waiting: int = 0
    dead_lettered: int = 0
    discarded_waiting: int = 0
    undelivered: int = 0
    undecided: int = 0
    accounted_before: int = 0
    outcome_gone: int = 0
    refused: int = 0
    read_again: int = 0
    discarded: int = 0
    unread: list[str] = field(default_factory=list)
    without_outcome: list[str] = field(default_factory=list)
    older_undelivered: list[str] = field(default_factory=list)
    delivered_twice: list[str] = field(default_factory=list)
    dropped_for_nothing: list[str] = field(default_factory=list)
    missing_in_target: list[str] | None = None
    deleted_in_target: dict[str, str] | None = None
    surplus: list[Finding] | None = None
    of_nobody: list[Finding] | None = None
    different: list[Finding] | None = None
    off_shift: list[Finding] | None = None
    found: dict[str, int] | None = None
    times_compared: bool | None = None
    deletions_known: bool | None = None
    sent_again: dict[str, int] | None = None
    changes: list[Change] | None = None
    skipped: Skipped = field(default_factory=Skipped)
    not_there: list[str] = field(default_factory=list)
    faults: list[TopicFault] = field(default_factory=list)
    configuration: list[str] = field(default_factory=list)
    accepted: list[AcceptedLoss] = field(default_factory=list)
    adoptions: list[Adoption] = field(default_factory=list)
    counted_from: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Every raw record has its one outcome, and the target, where it was asked, holds what was delivered."""
        lost = (self.not_there, self.faults, self.configuration)
        of_topics = (self.without_outcome, self.older_undelivered, self.delivered_twice, self.dropped_for_nothing)
        of_target = (self.missing_in_target, self.surplus, self.of_nobody, self.different)
        return not any((*lost, *of_topics, *of_target)) and self.times_compared is not False

    def to_json(self) -> dict[str, object]:
        """The report for programs."""
        return asdict(self) | {
            "skipped": self.skipped.counts,
            "balanced": self.balanced,
            "accepted": [json_value(each) for each in self.accepted],
            "adoptions": [json_value(each) for each in self.adoptions],
        }


def json_value(record: AcceptedLoss | Adoption) -> dict[str, object]:
    """A record for programs.

    Args:
        record: What somebody accepted.
    """
    value: dict[str, object] = to_builtins(record)
    return value | {"at": format_milliseconds(record.at)}
