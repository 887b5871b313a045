"""What a topic has to be against what the broker says of it."""

import pytest

from attendance.topic_findings import Found, Severity, Wanted, compare
from attendance.topics import DAY_MS, TABLE, Name, topic_configs

WANTED = Wanted(partitions=4, retention_days=400, unread_days=30, horizon=90 * 86_400, replicas=3)


def found(name: Name, partitions: int | None = None, replicas: int = 3, beyond: int = 0, **configs: str) -> Found:
    right = topic_configs(TABLE[name], 400, 30, replicas)
    changed = {key.replace("_", "."): value for key, value in configs.items()}
    return Found(partitions or TABLE[name].partitions or 4, replicas, right | changed, beyond)


@pytest.mark.parametrize("name", TABLE)
def test_nothing_is_found_of_a_topic_that_is_as_it_is_made(name: Name) -> None:
    assert compare(name, name, found(name), WANTED) == []


@pytest.mark.parametrize(
    ("name", "changed", "severity"),
    [
        ("raw", {"cleanup_policy": "compact"}, "refuses"),
        ("raw", {"cleanup_policy": "compact,delete"}, "refuses"),
        ("user_map", {"cleanup_policy": "delete"}, "refuses"),
        ("user_map", {"cleanup_policy": "compact,delete"}, "refuses"),
        ("raw", {"retention_ms": str(7 * DAY_MS)}, "refuses"),
        ("raw", {"retention_ms": str(100 * DAY_MS)}, "warns"),
        ("dedup_state", {"retention_ms": str(400 * DAY_MS)}, "warns"),
        ("dedup_state", {"retention_ms": str(89 * DAY_MS)}, "refuses"),
        ("unread", {"retention_ms": str(29 * DAY_MS)}, "refuses"),
        ("dead_letters", {"retention_ms": str(89 * DAY_MS)}, "refuses"),
        ("dead_letters", {"retention_ms": str(399 * DAY_MS)}, "warns"),
        ("dead_letters", {"retention_ms": str(401 * DAY_MS)}, "warns"),
        ("dead_letters", {"retention_ms": "-1"}, "warns"),
        ("dead_letter_actions", {"retention_ms": "-1"}, "warns"),
        ("unmapped", {"max_compaction_lag_ms": str(2**63 - 1)}, "warns"),
        ("raw", {"retention_bytes": "1000000000"}, "refuses"),
        ("user_map", {"delete_retention_ms": "3600000"}, "refuses"),
        ("raw", {"max_message_bytes": "1048588"}, "refuses"),
        ("raw", {"message_timestamp_type": "CreateTime"}, "refuses"),
        ("user_map", {"message_timestamp_type": "CreateTime"}, "warns"),
        ("probe", {"message_timestamp_type": "CreateTime"}, "warns"),
        ("raw", {"min_insync_replicas": "1"}, "warns"),
        ("raw", {"unclean_leader_election_enable": "true"}, "warns"),
    ],
)
def test_what_would_lose_records_refuses_and_what_is_unwise_warns(
    name: Name, changed: dict[str, str], severity: Severity
) -> None:
    [what] = (key.replace("_", ".") for key in changed)
    [finding] = compare(name, f"t.{name}", found(name, **changed), WANTED)
    assert (finding.topic, finding.what, finding.severity) == (f"t.{name}", what, severity)
    assert finding.mend == "punchstream topics repair"
    assert finding.set_to is not None
    mended = compare(name, name, found(name, **(changed | {what.replace(".", "_"): finding.set_to})), WANTED)
    assert mended == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("raw", {"retention_ms": "-1"}),
        ("raw", {"retention_ms": str(500 * DAY_MS)}),
        ("raw", {"max_message_bytes": "10485760"}),
        ("user_map", {"retention_ms": "1"}),
        ("user_map", {"delete_retention_ms": str(7 * DAY_MS)}),
        ("user_map", {"max_compaction_lag_ms": str(DAY_MS)}),
        ("probe", {"retention_ms": "1000", "max_message_bytes": "1000"}),
    ],
)
def test_what_keeps_more_than_is_wanted_is_right(name: Name, changed: dict[str, str]) -> None:
    assert compare(name, name, found(name, **changed), WANTED) == []


@pytest.mark.parametrize(
    ("name", "partitions", "beyond", "severity"),
    [("raw", 3, 0, "refuses"), ("raw", 6, 0, "warns"), ("raw", 6, 1, "refuses"), ("user_map", 2, 1, "refuses")],
)
def test_a_changed_number_of_partitions_refuses_where_records_are_or_would_be_elsewhere(
    name: Name, partitions: int, beyond: int, severity: Severity
) -> None:
    [finding] = compare(name, name, found(name, partitions, beyond=beyond), WANTED)
    assert (finding.what, finding.severity, finding.set_to) == ("partitions", severity, None)


def test_fewer_replicas_than_are_wanted_warn_and_are_set_by_hand() -> None:
    [finding] = compare("raw", "raw", found("raw", replicas=1), WANTED)
    assert (finding.what, finding.severity, finding.mend) == (
        "replicas",
        "warns",
        "docs/topics.md",
    )


def test_a_topic_that_is_missing_is_made_by_the_command_that_is_named() -> None:
    [finding] = compare("raw", "t.raw.v1", None, WANTED)
    assert str(finding) == "topic t.raw.v1 does not exist; `punchstream topics create` makes it"
    assert finding.severity == "refuses"


def test_a_configuration_that_may_not_be_read_is_not_taken_for_a_right_one() -> None:
    [finding] = compare("raw", "t.raw.v1", Found(4, 3, None), WANTED)
    assert finding.severity == "unknown"
    assert "DescribeConfigs" in str(finding)


def test_a_sentence_names_topic_both_values_and_the_command() -> None:
    [finding] = compare("raw", "t.raw.v1", found("raw", retention_ms=str(7 * DAY_MS)), WANTED)
    assert str(finding) == (
        "topic t.raw.v1: retention.ms is 7 days, wanted is 400 days; `punchstream topics repair` mends it"
    )
