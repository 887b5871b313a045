"""The example for Alertmanager in `deploy/prometheus/`: it is taken, and each alert reaches somebody."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[3] / "deploy" / "prometheus"
EXAMPLE = PROMETHEUS / "alertmanager.yml"
FILE: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
RECEIVERS = {"critical": "on-call", "warning": "queue", "info": "weekly"}
SECRET = re.compile(r"(password|key|secret|credentials|token)$")


def amtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)


def reached(labels: dict[str, str]) -> list[str]:
    """The receivers of an alert, as Alertmanager finds them."""
    of = [f"{name}={value}" for name, value in labels.items()]
    answer = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *of)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip().split(",")


def test_alertmanager_takes_the_example(alertmanager: None) -> None:
    answer = amtool("check-config", str(EXAMPLE))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_alertmanager_would_not_take_every_example(alertmanager: None, tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(EXAMPLE.read_text().replace("receiver: weekly", "receiver: nobody"))
    assert "nobody" in amtool("check-config", str(path)).stdout


def test_each_alert_reaches_whom_its_severity_asks_for_and_a_site_its_own_people(alertmanager: None) -> None:
    asked: list[tuple[dict[str, str], list[str]]] = []
    for name, rule in RULES.items():
        severity = rule["labels"]["severity"]
        labels, receiver = {"alertname": name, "severity": severity}, RECEIVERS[severity]
        asked.append((labels, [receiver]))
        if "by (site)" in rule["expr"]:
            asked.append((labels | {"site": "riyadh"}, ["site-riyadh", receiver]))
            asked.append((labels | {"site": "jeddah"}, [receiver]))
    assert len(asked) > len(RULES), "some are of a site"
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(reached, [labels for labels, _ in asked]))
    assert [(labels, receivers) for (labels, _), receivers in zip(asked, found, strict=True)] == asked


def test_an_alert_that_nobody_thought_of_is_read_by_somebody(alertmanager: None) -> None:
    assert reached({"alertname": "Unheard", "severity": "odd"}) == ["queue"]


@pytest.mark.parametrize("rule", FILE["inhibit_rules"])
def test_an_alert_that_follows_from_another_is_there_and_wakes_nobody(rule: dict[str, list[str]]) -> None:
    source, target = (
        set(re.findall(r"\bPunchstream\w+", matcher))
        for (matcher,) in (rule["source_matchers"], rule["target_matchers"])
    )
    assert source | target <= set(RULES)
    assert not source & target
    # What is critical is sent whatever else there is.
    assert not [name for name in target if RULES[name]["labels"]["severity"] == "critical"]


def test_every_secret_is_in_a_file() -> None:
    def names(value: object) -> list[str]:
        if isinstance(value, dict):
            return [*value, *(each for inner in value.values() for each in names(inner))]
        return [each for inner in value for each in names(inner)] if isinstance(value, list) else []

    found = names(FILE)
    assert not [name for name in found if SECRET.search(name)]
    assert {name for name in found if name.endswith("_file")} == {
        "smtp_auth_password_file",
        "routing_key_file",
        "credentials_file",
    }
