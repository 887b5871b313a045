"""The rules of `deploy/prometheus/`: each fires when it is to, none on a healthy fleet, and the runbook has each."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from attendance.health import PORTS
from attendance.metric_table import TABLE

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
METRIC = re.compile(r"\bpunchstream_\w+")
HOW_BAD = {"now": "critical", "today": "warning", "this week": "info"}
"""The words of docs/operations.md, and the severities that alert managers know."""
DAY = 86_400


class Case(NamedTuple):
    """Series that make a rule fire, as promtool writes them a minute apart; when; and what is said then."""

    series: dict[str, str]
    after: str
    labels: dict[str, str]
    summary: str


CASES = {
    "PunchstreamStageDown": Case(
        {'up{job="punchstream", instance="sink"}': "1 0x9"},
        "6m",
        {"job": "punchstream", "instance": "sink"},
        "A process of Punchstream does not answer: sink.",
    ),
    "PunchstreamPushRefuses": Case(
        {'punchstream_requests_refused_total{reason="kafka_unavailable", instance="push"}': "0+5x20"},
        "10m",
        {},
        "Push tells terminals to come back later. They keep their punches for as long as their memory lasts.",
    ),
    "PunchstreamStandsStill": Case(
        {'punchstream_standing_still{cause="clock", instance="push"}': "0 1x9"},
        "5m",
        {"cause": "clock", "instance": "push"},
        "push takes nothing in, because of its clock.",
    ),
    "PunchstreamRecordsMissing": Case(
        {
            'punchstream_records_missing{topic="attendance.raw.v1", partition="0", instance="stream"}': "0 7x9",
            'punchstream_records_missing{topic="attendance.raw.v1", partition="1", instance="stream"}': "0 2x9",
        },
        "2m",
        {"topic": "attendance.raw.v1", "instance": "stream"},
        "Records of attendance.raw.v1 that are gone before stream has read them: 9.",
    ),
    "PunchstreamRetentionNear": Case(
        {
            'punchstream_lag_seconds{topic="attendance.raw.v1", instance="a"}': f"{2 * DAY}x30",
            'punchstream_retention_seconds{topic="attendance.raw.v1", instance="a"}': f"{3 * DAY}x30",
        },
        "15m",
        {"topic": "attendance.raw.v1"},
        "Records of attendance.raw.v1 have waited for 2d 0h 0m 0s: half of the time after which Kafka deletes them.",
    ),
    "PunchstreamShiftClosedElsewhere": Case(
        {'punchstream_shift_last_sync_ahead{shift_type="Day"}': "0 1x9"},
        "2m",
        {"shift_type": "Day"},
        "Something else closes the days of Day; people are marked absent.",
    ),
    "PunchstreamErpnextUnavailable": Case(
        {'punchstream_target_available{instance="a"}': "1 0x30", 'punchstream_target_available{instance="b"}': "0x31"},
        "15m",
        {},
        "ERPNext takes no check-ins; they wait in Kafka.",
    ),
    "PunchstreamLag": Case(
        {
            'punchstream_lag_seconds{topic="attendance.raw.v1", instance="a"}': "0+60x30",
            'punchstream_lag_seconds{topic="attendance.raw.v1", instance="b"}': "0x30",
        },
        "20m",
        {"topic": "attendance.raw.v1"},
        "Records of attendance.raw.v1 have waited for 20m 0s.",
    ),
    "PunchstreamSinkStopped": Case(
        {'punchstream_sink_stopped{instance="sink"}': "0 1x9"},
        "8m",
        {"instance": "sink"},
        "Nearly every check-in fails; the sink waits for a repair.",
    ),
    "PunchstreamSinkSuspects": Case(
        {'punchstream_sink_suspects{instance="sink"}': "0 3x90"},
        "70m",
        {},
        "Employees on whose check-ins ERPNext fails: 3.",
    ),
    "PunchstreamDirectoryOld": Case(
        {"punchstream_directory_synced_timestamp_seconds": "0x90"},
        "66m",
        {},
        "The user map has not agreed with ERPNext for 1h 6m 0s; new people wait.",
    ),
    "PunchstreamDeadLetters": Case(
        # The first that there is: before it, there is no series.
        {'punchstream_dead_letters_total{stage="push", reason="invalid_event"}': "_x9 1x90"},
        "12m",
        {"stage": "push", "reason": "invalid_event"},
        "Records failed at push: invalid_event.",
    ),
    "PunchstreamDeadLettersExpire": Case(
        {'punchstream_dead_letters_expire_timestamp_seconds{instance="push"}': f"{2 * DAY}x9"},
        "0m",
        {},
        "What failed is deleted in 2d 0h 0m 0s, and nobody has dealt with it.",
    ),
    "PunchstreamUnreadExpires": Case(
        {'punchstream_unread_expires_timestamp_seconds{instance="pull"}': f"{DAY}x9"},
        "0m",
        {},
        "Requests that nobody could read are deleted in 1d 0h 0m 0s.",
    ),
    "PunchstreamLateDeliveries": Case(
        {'punchstream_late_deliveries_total{shift_type="Day"}': "4x60 5x30"},
        "65m",
        {"shift_type": "Day"},
        "Check-ins of Day came after their day was closed.",
    ),
    "PunchstreamShiftHeldBack": Case(
        {'punchstream_shift_complete_timestamp_seconds{shift_type="Day", held_by="D1"}': "0x120"},
        "90m",
        {"shift_type": "Day", "held_by": "D1"},
        "D1 holds Day back; its days are not counted yet.",
    ),
    "PunchstreamDevicesBehind": Case(
        {f'punchstream_pull_behind_timestamp_seconds{{device_id="D{n}"}}': "0x30" for n in range(2)},
        "20m",
        {},
        "Devices that are asked and do not answer: 2.",
    ),
    "PunchstreamDevicesSilent": Case(
        {
            'punchstream_silent_devices{site="riyadh", instance="console"}': "3x30",
            'punchstream_silent_devices{site="jeddah", instance="console"}': "0x30",
        },
        "20m",
        {"site": "riyadh"},
        "Devices of riyadh that were not heard for long, in its working hours: 3.",
    ),
    "PunchstreamClocksOff": Case(
        {'punchstream_clocks_off{instance="a"}': "2x30", 'punchstream_clocks_off{instance="b"}': "2x30"},
        "20m",
        {},
        "Devices whose clock is off by more than a minute: 2.",
    ),
    "PunchstreamTerminalKnocks": Case(
        {'punchstream_knocks_total{cause="path", sender="zkteco"}': "0+1x30"},
        "20m",
        {"sender": "zkteco"},
        "A terminal (zkteco) is turned away again and again.",
    ),
    "PunchstreamDayHasGap": Case(
        {'punchstream_reconciled_devices_with_gap{site="riyadh"}': "0 2x9"},
        "3m",
        {"site": "riyadh"},
        "Devices of riyadh with punches of a day that are nowhere: 2.",
    ),
    "PunchstreamAuditNotBalanced": Case(
        {'punchstream_audit_balanced{job="node"}': "1 0x9"},
        "2m",
        {},
        "The last audit did not balance: a punch has no outcome, or ERPNext has something else than was delivered.",
    ),
    "PunchstreamWaitingGrows": Case(
        {'punchstream_waiting{reason="unmapped_user"}': "3x1500 8x400"},
        "31h20m",
        {},
        "Punches that wait for an employee, more than a day ago: 8.",
    ),
    "PunchstreamConnectionsClosed": Case(
        {'punchstream_connections_closed_total{cause="head"}': "0+1x30"},
        "10m",
        {"cause": "head"},
        "Push closes connections to make room for others: head.",
    ),
    "PunchstreamLedgerBehind": Case(
        {'punchstream_ledger_behind_seconds{instance="ledger"}': "120x30"},
        "20m",
        {"instance": "ledger"},
        "The ledger is 2m 0s behind; pages and lists are old.",
    ),
    "PunchstreamReconcileOld": Case(
        {'punchstream_reconciled_until_timestamp_seconds{site="riyadh"}': "0x3000"},
        "49h",
        {"site": "riyadh"},
        "No day of riyadh was compared for 2d 1h 0m 0s.",
    ),
    "PunchstreamAuditOld": Case(
        {'punchstream_audit_timestamp_seconds{job="node"}': "0x3000"},
        "49h",
        {},
        "No audit has ended for 2d 1h 0m 0s.",
    ),
}
HEALTHY = {
    'up{job="punchstream", instance="push"}': "1x1800",
    'punchstream_requests_refused_total{reason="invalid_event"}': "0+1x1800",
    'punchstream_standing_still{cause="clock", instance="push"}': "0x1800",
    'punchstream_records_missing{topic="attendance.raw.v1", partition="0"}': "0x1800",
    'punchstream_shift_last_sync_ahead{shift_type="Day"}': "0x1800",
    # One of two sinks begins anew.
    'punchstream_target_available{instance="a"}': "1x1800",
    'punchstream_target_available{instance="b"}': "1x100 0x30 1x1700",
    # A sink that catches up after an hour of its own.
    'punchstream_lag_seconds{topic="attendance.checkins.v1"}': "0x100 3600 1800 900 120 0x1700",
    'punchstream_retention_seconds{topic="attendance.checkins.v1"}': f"{400 * DAY}x1800",
    'punchstream_sink_stopped{instance="a"}': "0x1800",
    'punchstream_sink_suspects{instance="a"}': "0x100 1x50 0x1700",
    "punchstream_directory_synced_timestamp_seconds": "0+60x1800",
    'punchstream_dead_letters_total{stage="push", reason="invalid_event"}': "9x1800",
    "punchstream_dead_letters_expire_timestamp_seconds": "0x1800",
    "punchstream_unread_expires_timestamp_seconds": "0x1800",
    'punchstream_late_deliveries_total{shift_type="Day"}': "3x1800",
    # A night, in which no device is overdue.
    'punchstream_shift_complete_timestamp_seconds{shift_type="Day", held_by=""}': "0x600 36000+60x1200",
    'punchstream_pull_behind_timestamp_seconds{device_id="D1"}': "_x100 6000x10 stale",
    # One that somebody switches off for a moment.
    'punchstream_silent_devices{site="riyadh"}': "0x100 1x10 0x1700",
    'punchstream_clocks_off{instance="a"}': "0x1800",
    'punchstream_knocks_total{cause="path", sender="scanner"}': "0+9x1800",
    'punchstream_reconciled_devices_with_gap{site="riyadh"}': "0x1800",
    # A new person, who is mapped on the same morning.
    'punchstream_waiting{reason="unmapped_user"}': "5x1450 6x100 5x300",
    'punchstream_connections_closed_total{cause="idle"}': "0+1x1800",
    'punchstream_connections_closed_total{cause="head"}': "2x1800",
    'punchstream_ledger_behind_seconds{instance="ledger"}': "0x100 90x10 1x1700",
    'punchstream_reconciled_until_timestamp_seconds{site="riyadh"}': "0+60x1800",
    'punchstream_audit_balanced{job="node"}': "1x1800",
    'punchstream_audit_timestamp_seconds{job="node"}': "0x1800",
}
LOOKS = [f"{minute}m" for minute in (70, 115, 130, 160, 900, 1480, 1790)]


def test_every_rule_has_a_case_that_fires() -> None:
    assert set(CASES) == set(RULES)


def test_the_healthy_fleet_has_every_metric_that_a_rule_asks_for() -> None:
    asked = {name for rule in RULES.values() for name in METRIC.findall(rule["expr"])}
    assert asked == {name for series in HEALTHY for name in METRIC.findall(series)}
    assert asked <= set(TABLE)


def run(directory: Path, tests: list[dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
    (directory / "alerts.yml").write_bytes((PROMETHEUS / "alerts.yml").read_bytes())
    document = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}
    (directory / "tests.yml").write_text(yaml.safe_dump(document, sort_keys=False))
    return subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=directory, capture_output=True, text=True, check=False
    )


def inputs(series: dict[str, str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
    }


def test_each_rule_fires_and_says_what_somebody_reads_on_a_pager(prometheus: None, tmp_path: Path) -> None:
    tests = []
    for name, case in CASES.items():
        annotations = {"summary": case.summary, "runbook": f"docs/runbook.md#{name.lower()}"}
        labels = case.labels | {"severity": RULES[name]["labels"]["severity"]}
        expected = {"eval_time": case.after, "alertname": name}
        expected |= {"exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}]}  # type: ignore[dict-item]
        tests.append(inputs(case.series) | {"alert_rule_test": [expected]})
    answer = run(tmp_path, tests)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_no_rule_fires_on_a_healthy_fleet(prometheus: None, tmp_path: Path) -> None:
    looks = [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in RULES for at in LOOKS]
    answer = run(tmp_path, [inputs(HEALTHY) | {"alert_rule_test": looks}])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_prometheus_takes_the_example(prometheus: None) -> None:
    answer = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_example_scrapes_every_stage_where_it_serves() -> None:
    document = (PROMETHEUS / "prometheus.yml").read_text()
    scraped = {stage: int(port) for port, stage in re.findall(r"127\.0\.0\.1:(\d+) # ([\w-]+)", document)}
    assert scraped == PORTS
    assert len(scraped) == len(yaml.safe_load(document)["scrape_configs"][0]["static_configs"][0]["targets"])


@pytest.mark.parametrize("name", RULES)
def test_the_runbook_has_what_somebody_who_was_paged_needs(name: str) -> None:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found is not None
    words = re.findall(r"^- \*\*(\w+)\*\*(?: \((\w+)\))?: \S", found[1], re.MULTILINE)
    severity = RULES[name]["labels"]["severity"]
    assert words == [("Meaning", severity), ("Impact", ""), ("Diagnosis", ""), ("Mitigation", "")]


def test_the_runbook_has_no_alert_that_is_not_there() -> None:
    assert re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE) == list(RULES)


def test_operations_has_each_alert_as_bad_as_its_rule() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| \[(Punchstream\w+)\]\(runbook\.md#(\w+)\)[^|]*\| \*\*([\w ]+)\*\*", page, re.MULTILINE)
    assert {name: HOW_BAD[how_bad] for name, _, how_bad in rows} == {
        name: rule["labels"]["severity"] for name, rule in RULES.items()
    }
    assert all(name.lower() == anchor for name, anchor, _ in rows)
