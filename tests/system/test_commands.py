import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from eventually import eventually

from sandbox.ports import free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS = (
    "demo",
    "up",
    "audit",
    "push",
    "directory",
    "stream",
    "sink",
    "completeness",
    "topics create",
    "topics describe",
    "devices list",
    "devices token",
    "users list",
    "users import",
    "users unmapped",
    "users discard",
    "users discarded",
    "privacy export",
    "privacy erase",
    "privacy readmit",
    "erpnext setup",
    "erpnext check",
    "dead-letters list",
    "dead-letters show",
    "dead-letters replay",
    "dead-letters discard",
    "settings",
)
ONE_OF_EACH_SERVER = ("console", "stream", "sink")
"""Stages that uvicorn runs, Faust, and ours alone. All begin alike."""
ERPNEXT = {"ERPNEXT_URL": "http://127.0.0.1:1", "ERPNEXT_API_KEY": "key", "ERPNEXT_API_SECRET": "no-joy"}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers, as a broker does whose host hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused_in_one_line(answer: "subprocess.CompletedProcess[str]", named: str) -> None:
    assert answer.returncode == 2
    assert answer.stderr.startswith("punchstream: ")
    assert answer.stderr.count("\n") == 1
    assert named in answer.stderr


def test_the_help_shows_every_command_and_each_has_its_own(punchstream: Run) -> None:
    overview = punchstream("--help").stdout
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda command: punchstream(*command.split(), "--help"), COMMANDS))
    for command, answer in zip(COMMANDS, answers, strict=True):
        assert answer.returncode == 0, command
        assert f"punchstream {command}" in answer.stdout
        assert command.split()[0] in overview


@pytest.mark.parametrize(
    ("command", "settings", "named"),
    [
        ("push", {"PUNCHSTREAM_DEVICES": "missing.yaml"}, "PUNCHSTREAM_DEVICES: missing.yaml"),
        ("stream", {"PUNCHSTREAM_DEVICES": "missing.yaml"}, "PUNCHSTREAM_DEVICES: missing.yaml"),
        ("sink", {}, "ERPNEXT_URL"),
        ("completeness", {"PUNCHSTREAM_DEVICES": "missing.yaml"}, "PUNCHSTREAM_DEVICES: missing.yaml"),
        ("audit --repair-late", {}, "ERPNEXT_URL"),
        ("audit --late", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("directory", {"ERPNEXT_URL": "http://127.0.0.1:1", "ERPNEXT_API_KEY": "key"}, "ERPNEXT_API_SECRET"),
        ("topics create", {"KAFKA_PARTITIONS": "x"}, "KAFKA_PARTITIONS"),
        ("topics create", {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_USERNAME"),
        ("topics create", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("audit", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("users list", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("users import missing.csv", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "missing.csv"),
        ("privacy export --to person.json", {}, "--employee"),
        ("privacy export --employee E --to missing/person.json", {}, "missing/person.json"),
        ("privacy export --employee E --to person.json", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("privacy erase --employee E", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("privacy readmit --employee E", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("erpnext setup", ERPNEXT, "http://127.0.0.1:1"),
        ("up", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"} | ERPNEXT, "127.0.0.1:1"),
        ("up", {"SINK_BATCH": "0"}, "SINK_BATCH"),
        ("demo --broker kafka", {"PUNCHSTREAM_KAFKA_JARS": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(
    command: str, settings: dict[str, str], named: str, punchstream: Run
) -> None:
    refused_in_one_line(punchstream(*command.split(), **settings), named)


def test_a_kafka_that_takes_connections_and_never_answers_is_not_waited_for(punchstream: Run, silent_port: int) -> None:
    address = f"127.0.0.1:{silent_port}"
    refused_in_one_line(
        punchstream("topics", "create", KAFKA_BOOTSTRAP_SERVERS=address, KAFKA_REQUEST_TIMEOUT="2s"), address
    )


def test_stages_that_are_stopped_as_soon_as_they_say_that_they_live_have_not_failed(
    tmp_path: Path, login: dict[str, str], silent_port: int
) -> None:
    (tmp_path / "devices.yaml").write_text("[]\n")
    common = login | ERPNEXT | {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{silent_port}"}

    def status_of(stage: str) -> int:
        port = free_port()
        health = f"http://127.0.0.1:{port}/healthz"
        settings = common | {"METRICS_PORT": str(port)}
        with subprocess.Popen(["punchstream", stage], cwd=tmp_path, env=settings) as process:
            try:
                # Until Kafka has not answered for a while, its work has not begun.
                eventually(lambda: httpx.get(health).is_success, within=60, wanted=f"{stage} says that it lives")
                process.terminate()
                return process.wait(30)
            finally:
                process.kill()

    with ThreadPoolExecutor(3) as threads:
        statuses = list(threads.map(status_of, ONE_OF_EACH_SERVER))
    assert statuses == [0, 0, 0]


def test_the_settings_are_shown_with_their_sources_and_without_the_secrets(punchstream: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KAFKA_SASL_PASSWORD=from-the-file\nPUNCH_WINDOW=90s\n")
    answer = punchstream("settings", "--json", **ERPNEXT)
    assert answer.returncode == 0
    assert "no-joy" not in answer.stdout
    assert "from-the-file" not in answer.stdout
    shown = {row["setting"]: (row["value"], row["source"]) for row in json.loads(answer.stdout)}
    assert shown["ERPNEXT_API_SECRET"] == ("***", "environment")
    assert shown["KAFKA_SASL_PASSWORD"] == ("***", ".env")
    assert shown["PUNCH_WINDOW"] == ("90", ".env")
    assert shown["PUSH_PORT"] == ("8080", "default")
