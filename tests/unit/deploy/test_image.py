"""The container image: what its Containerfile copies and runs as, its health check, and the list of what is in it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from attendance.metrics import Metrics
from sandbox.ports import free_port

ROOT = Path(__file__).parents[3]
IMAGE = ROOT / "deploy" / "image"
CONTAINERFILE = (IMAGE / "Containerfile").read_text()
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def hadolint(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([BIN / "hadolint", "--no-color", path], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing_wrong() -> None:
    answer = hadolint(IMAGE / "Containerfile")
    assert (answer.returncode, answer.stdout) == (0, "")


def test_hadolint_would_find_something_wrong(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(CONTAINERFILE.replace("USER 10001:10001", "USER root"))
    assert "DL3002" in hadolint(tmp_path / "Containerfile").stdout


def test_the_image_has_every_package_that_the_wheel_has() -> None:
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert set(re.findall(r"(?m)^COPY (\w+) \./\1$", CONTAINERFILE)) == packages


def test_what_is_not_copied_is_not_sent_to_the_builder_and_all_that_is_copied_is() -> None:
    first, *ignored = [
        line
        for line in (IMAGE / "Containerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {name for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", CONTAINERFILE) for name in line.split()}
    assert first == "*"
    assert {name if name in sent else name.split("/")[0] for name in copied} == sent


def test_the_final_stage_installs_nothing_and_runs_as_nobody_who_is_known() -> None:
    final = CONTAINERFILE.rpartition("\nFROM ")[2]
    assert "pip" not in final
    assert re.findall(r"(?m)^USER (.*)$", final) == ["10001:10001"]


class TestHealthcheck:
    @staticmethod
    def ask(**settings: str) -> int:
        command = [sys.executable, IMAGE / "healthcheck.py"]
        return subprocess.run(command, env=os.environ | settings, capture_output=True, check=False).returncode

    def test_a_stage_that_answers_is_healthy(self) -> None:
        port = free_port()
        Metrics("push").serve("127.0.0.1", port)
        assert self.ask(METRICS_PORT=str(port)) == 0

    def test_one_that_does_not_is_not(self) -> None:
        assert self.ask(METRICS_PORT=str(free_port())) == 1

    @pytest.mark.parametrize("port", ["0", ""])
    def test_a_command_without_a_port_is_not_asked(self, port: str) -> None:
        assert self.ask(METRICS_PORT=port) == 0


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sbom") / "sbom.json"
    subprocess.run(
        ["make", "--old-file=.venv/dev", "sbom", f"BIN={BIN}", f"SBOM={path}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return path.read_text()


def test_the_list_of_what_is_in_the_image_is_valid_cyclonedx(sbom: str) -> None:
    version = SchemaVersion.from_version(json.loads(sbom)["specVersion"])
    assert JsonStrictValidator(version).validate_str(sbom) is None
    assert JsonStrictValidator(version).validate_str(sbom.replace('"purl"', '"purrl"')) is not None


def test_it_has_each_package_of_the_lock_with_its_hashes(sbom: str) -> None:
    bom = json.loads(sbom)
    locked = dict(
        re.findall(r"(?m)^([a-z0-9.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", (ROOT / "requirements" / "image.txt").read_text())
    )
    assert {part["name"]: part["version"] for part in bom["components"]} == locked
    assert all(reference["hashes"] for part in bom["components"] for reference in part["externalReferences"])
    root = bom["metadata"]["component"]
    assert (root["name"], root["version"]) == (PROJECT["project"]["name"], PROJECT["project"]["version"])
