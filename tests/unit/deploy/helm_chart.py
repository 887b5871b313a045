"""What helm renders of the chart: run by `make chart`, which builds helm; `make test` looks at what that has kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from rendered_chart import CHART, VALUES, documents, objects, render

ROOT = Path(__file__).parents[3]
HELM = str(ROOT / "deploy" / "helm" / "target" / "helm")
OPERATORS: dict[str, Any] = json.loads((ROOT / "tests" / "support" / "schemas" / "operators.json").read_text())
SMALLEST = next(path for path in VALUES if path.name == "smallest-values.yaml")
CLUSTERS = sorted((CHART / "clusters").glob("*.yaml"))


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_it_renders_what_is_kept(values: Path) -> None:
    assert documents(render(HELM, values).stdout) == objects(values)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: path.stem)
def test_it_renders_for_every_cluster(cluster: Path) -> None:
    answer = render(HELM, SMALLEST, cluster)
    assert (answer.returncode, len(documents(answer.stdout)) > 10) == (0, True), answer.stderr


def test_the_rules_are_those_of_prometheus() -> None:
    answer = render(HELM, SMALLEST, settings=("monitoring.rules=true",))
    (rule,) = (each for each in documents(answer.stdout) if each["kind"] == "PrometheusRule")
    Draft202012Validator(OPERATORS["PrometheusRule"]["spec"]).validate(rule["spec"])
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("stages.directory.replicas=2", "there may be one"),
        ("stages.stream.replicas=13", "more than KAFKA_PARTITIONS"),
        ("stages.ledger.enabled=true", "LEDGER_URL: ledger needs it"),
        ("settings.ERPNEXT_URL=", "ERPNEXT_URL: directory needs it"),
        ("stages.pusch.enabled=true", "pusch"),
    ],
)
def test_it_refuses_what_cannot_work(setting: str, said: str) -> None:
    answer = render(HELM, SMALLEST, settings=(setting,))
    assert answer.returncode != 0
    assert said in answer.stderr
