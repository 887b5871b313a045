"""The compose file: it keeps to a schema of ours, runs every stage, and sets only what Punchstream knows."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from jsonschema import Draft202012Validator
from setting_names import SETTINGS

from attendance.health import PORTS
from punchstream.commands.settings import every_group, wrong_values

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "deploy" / "compose"
FILE: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
SCHEMA = json.loads((ROOT / "tests" / "support" / "schemas" / "compose.json").read_text())
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("punchstream:")}


def test_the_file_has_no_field_that_is_misspelt_or_misplaced() -> None:
    validator = Draft202012Validator(SCHEMA)
    assert [error.message for error in validator.iter_errors(FILE)] == []
    misspelt = FILE | {"services": {"push": SERVICES["push"] | {"healthchek": {}}}}
    assert not validator.is_valid(misspelt)


def read(reader: Path, directory: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Have Docker Compose's own library read a file. Its program takes no variables: the version is put in."""
    path = directory / "compose.yaml"
    path.write_text(re.sub(r"\$\{PUNCHSTREAM_VERSION[^}]*\}", "0.1.0", text))
    command = [reader, "--format", "json", path]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_docker_composes_own_library_reads_the_file_as_it_is_meant(compose_reader: Path, tmp_path: Path) -> None:
    answer = read(compose_reader, tmp_path, (COMPOSE / "compose.yaml").read_text())
    assert answer.returncode == 0, answer.stderr
    model = json.loads(answer.stdout)
    found = model["services"]
    assert found.keys() == SERVICES.keys()
    for name, service in found.items():
        assert service["profiles"] == SERVICES[name]["profiles"]
        assert service.get("networks", {}).keys() == set(SERVICES[name].get("networks", ())) <= model["networks"].keys()
        assert service.get("depends_on", {}).keys() == set(SERVICES[name].get("depends_on", ()))


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("healthcheck:", "healthchek:", "healthchek"),
        ("restart: unless-stopped", "restart: {}", "restart"),
        ("internal: true", "internal: maybe", "internal"),
    ],
)
def test_docker_composes_own_library_finds_what_is_wrong(
    right: str, wrong: str, said: str, compose_reader: Path, tmp_path: Path
) -> None:
    answer = read(compose_reader, tmp_path, (COMPOSE / "compose.yaml").read_text().replace(right, wrong, 1))
    assert answer.returncode == 1
    assert said in answer.stderr


def test_each_stage_runs_with_its_port_for_metrics() -> None:
    for stage, port in PORTS.items():
        service = SERVICES[stage]
        assert service["command"] == [stage]
        assert service["profiles"] == ["single", "cluster"]
        assert service["environment"]["METRICS_PORT"] == str(port)


def test_prometheus_asks_each_stage_on_its_port() -> None:
    (job,) = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]
    assert set(job["static_configs"][0]["targets"]) == {f"{stage}:{port}" for stage, port in PORTS.items()}
    # The rules go by it.
    assert job["job_name"] == "punchstream"


@pytest.mark.parametrize("name", OURS)
def test_every_container_of_ours_may_do_no_more_than_it_has_to(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service.get("environment", {})) <= SETTINGS


def test_no_port_is_open_but_on_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("profile", ["try", "single", "cluster"])
def test_what_a_profile_runs_depends_on_nothing_that_it_does_not_run(profile: str) -> None:
    running = {name for name, service in SERVICES.items() if profile in service["profiles"]}
    for name in running:
        depends = SERVICES[name].get("depends_on", {})
        needed: Mapping[str, Any] = depends if isinstance(depends, dict) else {key: {} for key in depends}
        assert {other for other, how in needed.items() if how.get("required", True)} <= running, name
        if {"kafka", "kafka-1"} & needed.keys():
            assert {"kafka", "kafka-1"} & needed.keys() & running


def test_the_brokers_of_each_profile_have_the_name_that_the_stages_ask() -> None:
    (servers,) = {
        service["environment"]["KAFKA_BOOTSTRAP_SERVERS"] for service in OURS.values() if "environment" in service
    }
    host = servers.partition(":")[0]
    assert "single" in SERVICES[host]["profiles"]
    brokers = [
        service for service in SERVICES.values() if "kafka:" in service["image"] and "cluster" in service["profiles"]
    ]
    assert len(brokers) == 3
    for broker in brokers:
        assert broker["networks"]["punchstream"]["aliases"] == [host]
        node, advertised = broker["environment"]["KAFKA_NODE_ID"], broker["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        assert f"{node}@{advertised.removeprefix('PLAINTEXT://').partition(':')[0]}:9093" in broker["environment"][
            "KAFKA_CONTROLLER_QUORUM_VOTERS"
        ].split(",")


def test_kafka_is_the_release_that_the_tests_run_on() -> None:
    (version,) = {
        service["image"].partition("kafka:")[2] for service in SERVICES.values() if "kafka:" in service["image"]
    }
    assert f"<version>{version}</version>" in (ROOT / "deploy" / "kafka" / "pom.xml").read_text()


def test_no_secret_stands_in_the_file_and_the_examples_name_settings() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    assert not re.findall(r"(?i)(?:password|secret|key)\w*: \S+", text)
    example = COMPOSE / "secrets.example" / "punchstream.env"
    assert dotenv_values(example).keys() <= SETTINGS
    filled = {name: value or "x" for name, value in dotenv_values(example).items()}
    assert filled["LEDGER_URL"].startswith("postgresql://punchstream:PASSWORD@postgres/punchstream")
    named = {file.removeprefix("secrets/") for service in SERVICES.values() for file in service.get("env_file", [])}
    assert {path.name for path in example.parent.iterdir()} == named


def test_the_settings_of_every_container_are_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    lines = (COMPOSE / "secrets.example" / "punchstream.env").read_text().replace("=\n", "=x\n")
    (tmp_path / ".env").write_text(lines)
    for service in OURS.values():
        with monkeypatch.context() as context:
            for name, value in service.get("environment", {}).items():
                context.setenv(name, value)
            assert list(wrong_values(every_group(), tmp_path / ".env")) == []


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [name for name in mounted if name.startswith(".")]
    assert len(files) == 5
    assert [name for name in files if not (COMPOSE / name).exists()] == []
    assert {name for name in mounted if not name.startswith(".")} == set(FILE["volumes"])
