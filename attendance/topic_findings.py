"""compare: what a topic has to be against what the broker says that it is. Pure; loads no Kafka library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from attendance.durations import format_seconds
from attendance.topics import FOREVER, TABLE, WANTED_REPLICAS, Name, topic_configs

Severity = Literal["refuses", "unknown", "warns"]
"""`refuses`: records would be lost or go wrong. `unknown`: nobody can say. `warns`: it is unwise."""

REPAIR: Final = "punchstream topics repair"
CREATE: Final = "punchstream topics create"
UNCLEAN: Final = "unclean.leader.election.enable"
BY_HAND: Final = "docs/topics.md"
EXPIRES: Final[frozenset[Name]] = frozenset({"dead_letters", "dead_letter_actions", "jobs"})
"""Topics of which a setting says not only how long they are kept, but also when what they hold goes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say of all topics.

    Attributes:
        partitions: `KAFKA_PARTITIONS`.
        retention_days: `KAFKA_RETENTION_DAYS`.
        unread_days: `UNREAD_DAYS`; None where it is not set.
        horizon: `DEDUP_HORIZON`, in seconds.
        replicas: Copies of each partition: the setting, or as many as the cluster allows up to three.
        dead_letter_days: `DEAD_LETTER_DAYS`; None where it is not set.
    """

    partitions: int
    retention_days: int
    unread_days: int | None
    horizon: float
    replicas: int
    dead_letter_days: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What the broker says of one topic.

    Attributes:
        partitions: How many there are.
        replicas: Copies of the partition that has fewest.
        configs: The configuration, the broker's defaults included; None where it may not be read.
        beyond: Records in partitions beyond those that are wanted; None where nobody asked.
    """

    partitions: int
    replicas: int
    configs: Mapping[str, str] | None
    beyond: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in which a topic is not what it has to be.

    Attributes:
        topic: The full name.
        what: Which thing: a key of the configuration, `partitions`, `replicas` or `topic`.
        found: What the broker says.
        wanted: What it has to be.
        severity: What comes of it.
        mend: The command that mends it, or the page that says how.
        set_to: The value of the configuration that mends it; None where there is none.
    """

    topic: str
    what: str
    found: str
    wanted: str
    severity: Severity
    mend: str
    set_to: str | None = None

    def __str__(self) -> str:
        """One line that names the topic, both values and what to do."""
        if self.what == "topic" and self.severity == "unknown":
            return f"topic {self.topic} does not exist, or may not be looked at: {self.mend}"
        if self.what == "topic":
            return f"topic {self.topic} does not exist; `{self.mend}` makes it"
        if self.severity == "unknown":
            return f"the configuration of topic {self.topic} may not be read: {self.mend}"
        how = {REPAIR: f"`{self.mend}` mends it", BY_HAND: f"see {self.mend}"}.get(self.mend, self.mend)
        return f"topic {self.topic}: {self.what} is {self.found}, wanted is {self.wanted}; {how}"


def compare(name: Name, full_name: str, found: Found | None, wanted: Wanted) -> list[Finding]:
    """Where a topic is not what it has to be; empty where it is.

    Args:
        name: Which topic.
        full_name: Its full name.
        found: What the broker says; None where there is no such topic.
        wanted: What the settings say.
    """
    if found is None:
        return [Finding(full_name, "topic", "missing", "there", "refuses", CREATE)]
    differences = [*_partitions(name, full_name, found, wanted)]
    if found.replicas < wanted.replicas:
        differences.append(Finding(full_name, "replicas", str(found.replicas), str(wanted.replicas), "warns", BY_HAND))
    if found.configs is None:
        right = "this principal needs DescribeConfigs on it"
        return [*differences, Finding(full_name, "configuration", "not readable", "readable", "unknown", right)]
    return [*differences, *_configs(name, full_name, found.configs, found.replicas, wanted)]


def hidden(full_name: str) -> Finding:
    """That nobody can say whether a topic exists.

    Args:
        full_name: Its full name.
    """
    right = "this principal needs Describe and DescribeConfigs on it"
    return Finding(full_name, "topic", "not visible", "there", "unknown", right)


def refusals(findings: list[Finding]) -> list[Finding]:
    """Those with which a stage must not work."""
    return [each for each in findings if each.severity == "refuses"]


def _partitions(name: Name, full_name: str, found: Found, wanted: Wanted) -> list[Finding]:
    count = TABLE[name].partitions or wanted.partitions
    says = str(count) if TABLE[name].partitions else f"{count} (KAFKA_PARTITIONS)"
    if found.partitions < count:
        created = (
            f"if it was created so, set KAFKA_PARTITIONS={found.partitions} for every process; otherwise {BY_HAND}"
        )
        return [Finding(full_name, "partitions", str(found.partitions), says, "refuses", created)]
    if found.partitions > count:
        # Nothing of ours writes there, so they do no harm while they are empty.
        if found.beyond:
            records = "1 record" if found.beyond == 1 else f"{found.beyond} records"
            what = f"{found.partitions}, with {records} beyond those that are wanted"
            mend = BY_HAND if TABLE[name].partitions is None else REPAIR
            return [Finding(full_name, "partitions", what, says, "refuses", mend)]
        return [Finding(full_name, "partitions", f"{found.partitions}", says, "warns", BY_HAND)]
    return []


def _configs(name: Name, full_name: str, found: Mapping[str, str], replicas: int, wanted: Wanted) -> list[Finding]:
    topic = TABLE[name]
    right = topic_configs(
        topic, wanted.retention_days, wanted.unread_days, replicas, dead_letter_days=wanted.dead_letter_days
    )
    deletes = topic.cleanup == "delete"
    differences: list[Finding] = []

    def differs(what: str, severity: Severity, *, least: bool = False, most: bool = False, words: bool = False) -> None:
        has, want = found.get(what), right[what]
        if has is None or has == want or (least and _at_least(has, want)) or (most and _at_least(want, has)):
            return
        shown = (_duration(has), _duration(want)) if words else (has, want)
        differences.append(Finding(full_name, what, *shown, severity, REPAIR, want))

    differs("cleanup.policy", "refuses")
    if name == "probe":  # nobody reads it, but each stage compares its clock with the times of its records
        differs("message.timestamp.type", "warns")
        return differences
    if deletes:
        forever = right["retention.ms"] == str(FOREVER)
        horizon_ms = wanted.horizon * 1000 if forever else min(wanted.horizon * 1000, float(right["retention.ms"]))
        # What the changelog of the stream has lost is held for a person, and so harms nobody but them.
        short = not _at_least(found.get("retention.ms", str(FOREVER)), str(int(horizon_ms)))
        differs("retention.ms", "refuses" if short else "warns", least=True, words=True)
        if name in EXPIRES and _at_least(found.get("retention.ms", right["retention.ms"]), right["retention.ms"]):
            # Kept for longer, it breaks no punch, but the promise when it goes.
            differs("retention.ms", "warns", words=True)
        differs("retention.bytes", "refuses", least=True)
    else:
        differs("delete.retention.ms", "refuses", least=True, words=True)
        differs("max.compaction.lag.ms", "warns", most=True, words=True)
    differs("max.message.bytes", "refuses", least=True)
    differs("message.timestamp.type", "refuses" if deletes and not topic.keeps_forever else "warns")
    if replicas >= WANTED_REPLICAS and int(found.get("min.insync.replicas", "1")) != int(right["min.insync.replicas"]):
        differs("min.insync.replicas", "warns")
    if found.get(UNCLEAN) == "true":
        differences.append(Finding(full_name, UNCLEAN, "true", "false", "warns", REPAIR, "false"))
    return differences


def _at_least(has: str, want: str) -> bool:
    """Whether a number is as large as another, where -1 is larger than any."""
    return int(has) == FOREVER or (int(want) != FOREVER and int(has) >= int(want))


def _duration(milliseconds: str) -> str:
    return "for ever" if int(milliseconds) == FOREVER else format_seconds(int(milliseconds) / 1000)
