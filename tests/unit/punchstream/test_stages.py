"""The stages of one machine: started in order, started again when one ends, stopped from the way in to the way out."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import requests

from punchstream import stages as module
from punchstream.stages import RESTART_SECONDS, STAGES, Stages

EXPOSITION = """# TYPE punchstream_deliveries counter
punchstream_deliveries_total{status="created"} 3.0
# TYPE punchstream_waiting gauge
punchstream_waiting{reason="unknown_user"} 2.0
"""


class FakeProcess:
    """A child that runs until it is stopped, or until it ends by itself."""

    log: ClassVar[list[str]] = []

    def __init__(self, command: list[str], *, log_file: Path, env: dict[str, str], **_: float) -> None:
        self.name = command[-1]
        self.log_file = log_file
        self.env = env
        self.running = False

    def start(self) -> None:
        self.running = True
        self.log.append(f"start {self.name}")

    def terminate(self) -> None:
        self.log.append(f"terminate {self.name}")

    def stop(self) -> None:
        self.running = False

    def wait_until_ready(self, ready: Callable[[], bool], **_: float) -> None:
        if not ready():
            raise TimeoutError(f"{self.name} is not ready")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    FakeProcess.log = []
    monkeypatch.setattr(module, "ChildProcess", FakeProcess)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(module.requests, "get", lambda *_, **__: SimpleNamespace(ok=True, text=EXPOSITION))
    monkeypatch.delenv("PUSH_PORT", raising=False)
    return clock


def processes(stages: Stages) -> dict[str, Any]:
    return stages._processes


def test_stages_are_started_in_order_and_stopped_from_the_way_in(clock: SimpleNamespace, tmp_path: Path) -> None:
    with Stages(tmp_path) as stages:
        assert FakeProcess.log == [f"start {name}" for name in STAGES]
        ports = {process.env["METRICS_PORT"] for process in processes(stages).values()}
        assert len(ports) == len(STAGES), "each serves its metrics on a port of its own"
        assert {process.env["PUSH_PORT"] for process in processes(stages).values()} == {stages.url.rpartition(":")[2]}
    assert FakeProcess.log[len(STAGES) :] == [f"terminate {name}" for name in reversed(STAGES)]


def test_where_push_is_not_ready_every_stage_is_stopped(
    clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(module.requests, "get", refuse)
    stages = Stages(tmp_path)
    with pytest.raises(TimeoutError, match="push is not ready"), stages:
        pytest.fail("it is entered")
    assert not any(process.running for process in processes(stages).values())


def test_a_stage_that_ended_is_started_again_after_a_while(clock: SimpleNamespace, tmp_path: Path) -> None:
    with Stages(tmp_path) as stages:
        sink = processes(stages)["sink"]
        sink.running = False
        stages.check()
        clock.now += RESTART_SECONDS / 2
        stages.check()
        assert not sink.running, "at once it would only end again"
        clock.now += RESTART_SECONDS
        stages.check()
        assert sink.running
        assert FakeProcess.log.count("start sink") == 2


def test_a_stages_counts_are_read_and_one_that_does_not_answer_has_none(
    clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Stages(tmp_path)
    assert stages.counts("sink") == {
        "punchstream_deliveries_total created": 3.0,
        "punchstream_waiting unknown_user": 2.0,
    }

    def refuse(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(module.requests, "get", refuse)
    assert stages.counts("sink") == {}
