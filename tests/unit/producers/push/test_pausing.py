"""A paused device: nothing of it is taken in, and it is answered so that it keeps its punches."""

import asyncio
from pathlib import Path

import pytest
from pausing import pause
from pushing import DEVICES, IN_THE_PATH, PUNCH, SHARED, TOKEN, Bench, batch, heartbeat, refusal

from producers.devices.contract import Sender
from producers.push.fleet import Fleet

LINE = b"417\t2026-03-02 08:00:00\t0\t15\n"
FACE = b'{"personId": "417", "time": "1772427600000", "type": "face_0"}'


@pytest.fixture
def paused(tmp_path: Path) -> Bench:
    every = [each["device_id"] for each in DEVICES if isinstance(each["device_id"], str)]
    return Bench(tmp_path, paused=[each for each in every if each != "DOOR-2"])


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/iclock/cdata?SN=SN1&options=all", b""),
        ("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", LINE),
        ("POST", "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=7", LINE * 5000),
        ("GET", "/iclock/getrequest?SN=SN1", b""),
        ("POST", f"/hf/{IN_THE_PATH}/record", FACE),
        ("POST", f"/hf/{IN_THE_PATH}/heartbeat", b"{}"),
    ],
)
def test_a_paused_terminal_is_answered_later_whatever_it_asks(
    paused: Bench, method: str, path: str, content: bytes
) -> None:
    answer = asyncio.run(paused.request(method, path, content=content))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert not paused.kafka.records
    assert paused.refused("device_paused")


def test_a_paused_device_that_speaks_json_hears_why(paused: Bench) -> None:
    assert paused.post(batch(PUNCH)) == (503, refusal("device_paused"))
    assert paused.post(heartbeat(), path="/v1/heartbeat") == (503, refusal("device_paused"))
    assert not paused.kafka.records


def test_of_devices_that_share_a_token_the_others_go_on(paused: Bench) -> None:
    assert paused.post(batch(PUNCH, device_id="DOOR-1"), token=SHARED) == (503, refusal("device_paused"))
    assert not paused.kafka.records
    assert paused.post(batch(PUNCH, device_id="DOOR-2"), token=SHARED)[0] == 200
    assert [each.device_id for each in paused.kafka.events()] == ["DOOR-2"]


def test_a_long_retry_after_is_not_made_shorter_by_a_pause(tmp_path: Path) -> None:
    bench = Bench(tmp_path, paused=["GATE-1"], retry_after=300)
    assert asyncio.run(bench.send(batch(PUNCH))).headers["retry-after"] == "300"


def test_whoever_does_not_have_the_token_learns_nothing_of_a_pause(paused: Bench) -> None:
    assert paused.post(batch(PUNCH), token="guessed") == (401, refusal("unknown_device"))


def test_a_pause_is_taken_up_and_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    fleet = Fleet(bench.registry)

    def is_paused() -> bool:
        asyncio.run(fleet.refresh())
        return bool(fleet.of("json", Sender(TOKEN))["GATE-1"].paused)

    assert not is_paused()
    pause(bench.registry, "GATE-1")
    assert is_paused()
    pause(bench.registry)
    assert not is_paused()
