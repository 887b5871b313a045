"""The Helm chart, as helm has rendered it: Kubernetes takes it, and it sets only what Punchstream knows."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from rendered_chart import CHART, RENDERED, VALUES, header, kept, objects
from secured_site import rights, table
from setting_names import SETTINGS

from attendance.health import PORTS
from attendance.topics import TABLE, USED_BY, topic_configs
from punchstream.commands.settings import every_group, wrong_values

ROOT = Path(__file__).parents[3]
OPERATORS: dict[str, Any] = json.loads((ROOT / "tests" / "support" / "schemas" / "operators.json").read_text())
VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.36", "1.37")
EVERYTHING = next(path for path in VALUES if path.name == "everything-values.yaml")
SMALLEST = next(path for path in VALUES if path.name == "smallest-values.yaml")
CLUSTERS = sorted((CHART / "clusters").glob("*.yaml"))
Object = dict[str, Any]


def pods(values: Path) -> Iterator[tuple[str, Object]]:
    """The name and the specification of every pod that the chart makes."""
    for each in objects(values):
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        pod = spec if each["kind"] == "Pod" else spec.get("template", {}).get("spec")
        if pod:
            yield each["metadata"]["name"], pod


def environment(container: Object) -> dict[str, str]:
    """The settings of a container; those from a Secret have a value that any setting may have."""
    return {each["name"]: each.get("value", "sqlite:////x") for each in container["env"]}


each_values = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


@each_values
def test_what_is_kept_is_of_the_chart_as_it_is(values: Path) -> None:
    assert kept(values).read_text().startswith(header()), "run make chart"


def test_nothing_is_kept_of_values_that_are_gone() -> None:
    assert {kept(values) for values in VALUES} == set(RENDERED.iterdir())


@each_values
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(values: Path, version: str) -> None:
    own = [each for each in objects(values) if each["kind"] not in OPERATORS]
    assert own
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


def test_kubernetes_would_not_take_what_is_misspelt() -> None:
    (push,) = (each for each in objects(SMALLEST, "Deployment") if each["metadata"]["name"].endswith("-push"))
    push["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(push, VERSIONS[0], strict=True)


@each_values
def test_the_kinds_of_operators_have_the_fields_that_they_know(values: Path) -> None:
    for each in objects(values):
        if known := OPERATORS.get(each["kind"]):
            assert each["apiVersion"] == known["apiVersion"]
            Draft202012Validator(known["spec"]).validate(each["spec"])


def test_everything_has_every_kind_and_every_stage() -> None:
    kinds = {each["kind"] for each in objects(EVERYTHING)}
    # The rules are those of deploy/prometheus, which are not kept a second time.
    assert OPERATORS.keys() - {"$comment", "PrometheusRule"} <= kinds
    assert {"CronJob", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service"} <= kinds
    assert {each["metadata"]["name"] for each in objects(EVERYTHING, "Deployment")} == {
        f"punchstream-{stage}" for stage in USED_BY
    }


@each_values
def test_each_stage_is_asked_for_its_health_on_its_port(values: Path) -> None:
    for each in objects(values, "Deployment"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        (stage,) = container["args"]
        assert environment(container)["METRICS_PORT"] == str(PORTS[stage])
        assert {"name": "metrics", "containerPort": PORTS[stage]} in container["ports"]
        paths = {
            probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        # A restart by /readyz would restart a sink for as long as ERPNext is down.
        assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@each_values
def test_no_pod_may_do_more_than_it_has_to(values: Path) -> None:
    for name, pod in pods(values):
        assert pod["automountServiceAccountToken"] is False, name
        # The Service of push would set PUSH_PORT.
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name


@each_values
def test_every_setting_exists_and_is_right(values: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, pod in pods(values):
        for container in pod["containers"]:
            found = environment(container)
            assert found.keys() <= SETTINGS, name
            with monkeypatch.context() as context:
                for setting, value in found.items():
                    context.setenv(setting, value)
                assert [
                    each for each in wrong_values(every_group(), tmp_path / ".env") if "SEAL_KEY" not in each
                ] == [], name


def test_no_stage_gets_the_secrets_of_another() -> None:
    secrets = {
        name: {each["name"] for container in pod["containers"] for each in container["env"] if "valueFrom" in each}
        for name, pod in pods(EVERYTHING)
    }
    assert secrets["punchstream-push"] == {"SEAL_KEY"}
    assert secrets["punchstream-stream"] == set()
    assert secrets["punchstream-sink"] == {"ERPNEXT_API_KEY", "ERPNEXT_API_SECRET"}


def test_no_secret_stands_in_what_is_made() -> None:
    assert not objects(EVERYTHING, "Secret")
    names = re.compile(r"_(SECRET|PASSWORD|KEY)$")
    for _, pod in pods(EVERYTHING):
        assert not [
            each
            for container in pod["containers"]
            for each in container["env"]
            if names.search(each["name"]) and "value" in each
        ]


def test_one_of_a_stage_is_replaced_before_the_next_begins_and_others_may_be_disrupted_one_by_one() -> None:
    budgets = {each["metadata"]["name"] for each in objects(EVERYTHING, "PodDisruptionBudget")}
    for each in objects(EVERYTHING, "Deployment"):
        alone = each["spec"]["strategy"]["type"] == "Recreate"
        assert alone == (
            each["metadata"]["name"].partition("-")[2] in {"directory", "completeness", "ledger", "console"}
        )
        assert alone == (each["metadata"]["name"] not in budgets)


def test_each_pod_has_a_network_policy() -> None:
    parts = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for each in objects(EVERYTHING, "NetworkPolicy")
    }
    assert parts == {*USED_BY, "operator"}


def test_strimzi_makes_the_topics_as_they_have_to_be() -> None:
    made = {each["metadata"]["name"]: each["spec"] for each in objects(EVERYTHING, "KafkaTopic")}
    assert made.keys() == {f"attendance.{topic.suffix}" for topic in TABLE.values()}
    for topic in TABLE.values():
        spec = made[f"attendance.{topic.suffix}"]
        assert spec["partitions"] == (topic.partitions or 12)
        # everything-values.yaml says UNREAD_DAYS.
        assert {name: str(value) for name, value in spec["config"].items()} == topic_configs(
            topic, 400, 30, spec["replicas"]
        )


def test_strimzi_gives_each_stage_the_rights_of_the_table() -> None:
    written = {re.sub(r"^punchstream ", "", who): row for who, row in table().items()}
    (operator,) = (row for who, row in written.items() if who.startswith("an operator"))
    made = {each["metadata"]["name"].removeprefix("punchstream-"): each for each in objects(EVERYTHING, "KafkaUser")}
    assert made.keys() == {*USED_BY, "operator"}
    for user, each in made.items():
        found = {
            (
                acl["resource"]["type"],
                acl["resource"]["name"],
                acl["resource"]["patternType"] == "prefix",
                operation.lower(),
            )
            for acl in each["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        row = operator if user == "operator" else written[user]
        assert found == {
            (right.resource, right.name, right.prefixed, right.operation.replace("_", ""))
            for right in rights(row, "attendance")
        }


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: path.stem)
def test_the_settings_for_a_cluster_exist_and_are_right(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = yaml.safe_load(cluster.read_text())["settings"]
    assert settings.keys() <= SETTINGS
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert wrong_values(every_group(), tmp_path / ".env") == []


def test_the_chart_is_of_the_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)
