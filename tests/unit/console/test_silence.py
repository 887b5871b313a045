"""Silent devices as a metric: of each site, and of none while the ledger does not know."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from ledger_story import START, START_MS, Story, kept_ledger

from attendance.metrics import Metrics
from attendance.registry import Registry
from console import silence as module
from console.settings import ConsoleSettings
from console.silence import Silence
from ledger.database import Database

HOUR_MS = 3_600_000
FLEET = [
    {"device_id": "D1", "site": "riyadh", "timezone": "UTC", "serial": "S1"},
    {"device_id": "D2", "site": "jeddah", "timezone": "UTC", "serial": "S2"},
]


class Pause(Exception):
    """Between two looks."""


async def pause(_seconds: float) -> None:
    raise Pause


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    file = tmp_path / "devices.yaml"
    file.write_text(yaml.safe_dump(FLEET))
    return Registry(file)


def silence(url: str, registry: Registry, metrics: Metrics, after: timedelta) -> Silence:
    settings = ConsoleSettings(_env_file=None, late_after=900, silent_after=3600)  # type: ignore[call-arg]
    return Silence(Database(url), registry, settings, metrics, lambda: START + after)


def shown(metrics: Metrics) -> list[str]:
    lines = metrics.exposition().decode().splitlines()
    return [line for line in lines if line.startswith("punchstream_silent_devices")]


def test_silent_devices_are_counted_by_site_until_the_ledger_is_old(tmp_path: Path, registry: Registry) -> None:
    story = Story()
    story.clock = START_MS - 2 * HOUR_MS
    story.report("D1")
    story.clock = START_MS
    story.report("D2")
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    kept_ledger(url, story)
    metrics = Metrics("console")
    counting = silence(url, registry, metrics, timedelta(minutes=1))
    asyncio.run(counting.look())
    assert shown(metrics) == [
        'punchstream_silent_devices{site="riyadh"} 1.0',
        'punchstream_silent_devices{site="jeddah"} 0.0',
    ]
    counting._clock = lambda: START + timedelta(hours=2)
    asyncio.run(counting.look())
    assert shown(metrics) == [], "both would be silent, because nothing was read since"


def test_while_the_ledger_does_not_answer_nobody_is_silent_and_it_is_asked_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.asyncio, "sleep", pause)
    metrics = Metrics("console")
    counting = silence("postgresql://nobody@127.0.0.1:1/none", registry, metrics, timedelta(0))
    counting._show({"riyadh": 1})
    with pytest.raises(Pause):
        asyncio.run(counting.keep())
    assert shown(metrics) == []
