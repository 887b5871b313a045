"""The dashboards of `deploy/grafana/`, and the rules beside them: they ask for what some stage exports."""

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql import exported, faults

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in (DEPLOY / "grafana").glob("*.json")
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in sorted(DASHBOARDS.items())
    for panel in dashboard["panels"]
]
RULES = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def test_there_is_a_dashboard_for_the_fleet_the_pipeline_and_erpnext() -> None:
    assert set(DASHBOARDS) == {"fleet", "pipeline", "erpnext"}
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_for_what_some_stage_exports(panel: dict[str, Any]) -> None:
    series = exported()
    assert queries(panel)
    assert not [fault for query in queries(panel) for fault in faults(query, series)]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_asks_for_what_some_stage_exports(name: str) -> None:
    assert faults(RULES[name], exported()) == []


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_names_its_series_by_labels_that_they_have(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            grouped = re.search(rf"\bby \([^)]*\b{label}\b[^)]*\)", target["expr"])
            assert grouped or (label == "instance" and " by (" not in target["expr"])


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_asks_the_prometheus_that_was_chosen(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert {each["datasource"]["uid"] for each in (panel, *panel["targets"])} == {"${datasource}"}


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_no_panel_covers_another(name: str) -> None:
    places = [panel["gridPos"] for panel in DASHBOARDS[name]["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert not all(
            one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
            for at, size in (("x", "w"), ("y", "h"))
        )


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(punchstream_coffees_total)", "punchstream_coffees_total is exported by no stage"),
        ('punchstream_waiting{mood="good"}', "punchstream_waiting has no label mood"),
        ("sum by (mood) (punchstream_waiting)", "nothing in it has the label mood"),
        ("rate(punchstream_request_seconds[5m])", "punchstream_request_seconds is exported by no stage"),
        ("time()", "it asks for no metric"),
    ],
)
def test_a_query_of_what_nobody_exports_is_found(query: str, fault: str) -> None:
    assert faults(query, exported()) == [fault]


def test_prometheus_understands_every_query(prometheus: None, tmp_path: Path) -> None:
    asked = [query for dashboard in DASHBOARDS.values() for panel in dashboard["panels"] for query in queries(panel)]
    rules = [
        # Grafana puts a time there.
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(asked)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    answer = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"SUCCESS: {len(asked)} rules found" in answer.stdout
