"""Which devices may push, as the fleet file changes."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from pushing import (
    GATE,
    TOKEN,
    Bench,
)

from attendance.errors import ConfigurationError
from attendance.fleet import hash_token
from attendance.times import now
from producers.devices import create_push_adapter
from producers.devices.contract import Head, PushRequest, Sender
from producers.push.fleet import Fleet


def take_up(fleet: Fleet) -> None:
    """Look at the fleet file until it is taken for whole."""
    for _ in range(2):
        asyncio.run(fleet.refresh())


@pytest.mark.parametrize("token", [TOKEN + " ", TOKEN[:-1], "ключ", "", None])
def test_only_its_own_token_opens_a_device(bench: Bench, token: str | None) -> None:
    fleet = Fleet(bench.registry)
    assert list(fleet.of("json", Sender(token=TOKEN))) == ["GATE-1"]
    for adapter in ("json", "zkteco_adms"):  # the entry of the second has no token
        assert not fleet.of(adapter, Sender(token=token))


def test_a_changed_registry_file_opens_and_closes_the_door(bench: Bench) -> None:
    fleet = Fleet(bench.registry)
    assert set(fleet.of("json", Sender(TOKEN))) == {"GATE-1"}
    bench.write([GATE | {"token_sha256": hash_token("new")}])
    take_up(fleet)
    assert not fleet.of("json", Sender(TOKEN))
    assert set(fleet.of("json", Sender("new"))) == {"GATE-1"}


def test_a_serial_number_opens_a_device_without_a_token_of_its_adapter_only(bench: Bench) -> None:
    bare = {name: value for name, value in GATE.items() if name != "token_sha256"}
    bench.write([bare | {"serial": "SN1"}, GATE | {"device_id": "GATE-2", "serial": "SN2"}])
    fleet = Fleet(bench.registry)
    take_up(fleet)
    assert set(fleet.of("json", Sender(serial="SN1"))) == {"GATE-1"}
    assert not fleet.of("json", Sender(serial="SN2"))
    assert not fleet.of("hfsecurity", Sender(serial="SN1"))
    assert not fleet.of("json", Sender(serial=""))


def test_a_wrong_registry_file_leaves_the_fleet_as_it_is(bench: Bench) -> None:
    fleet = Fleet(bench.registry)
    bench.write([{"device_id": "?"}])
    take_up(fleet)
    assert set(fleet.of("json", Sender(TOKEN))) == {"GATE-1"}


def test_options_that_change_while_push_runs_count_for_the_next_record(bench: Bench) -> None:
    face: dict[str, object] = GATE | {
        "device_id": "FACE-1",
        "adapter": "hfsecurity",
        "token_sha256": hash_token("face"),
    }
    fleet = Fleet(bench.registry)
    adapter = create_push_adapter("hfsecurity", ())
    found = []
    for direction in ("IN", "OUT", "IN"):
        bench.write([face | {"options": {"direction": {"1": direction}}}])
        take_up(fleet)
        head = Head("POST", "/hf/{token}/record", {"token": "face"}, {}, {"content-type": "application/json"})
        body = b'{"personSn": "7", "recordTime": "1772427602000", "resultFlag": "1", "direction": "1"}'
        devices = fleet.of("hfsecurity", Sender("face"))
        [event] = adapter.parse(PushRequest(head, body, now(), {}, ()), devices).events
        found.append(event.event_type)
    assert found == ["IN", "OUT", "IN"]


def test_wrong_options_stop_the_start_and_leave_a_running_fleet_as_it_is(bench: Bench) -> None:
    fleet = Fleet(bench.registry)
    bench.write([GATE | {"options": {"colour": "red"}}])
    take_up(fleet)
    assert set(fleet.of("json", Sender(TOKEN))) == {"GATE-1"}
    with pytest.raises(ConfigurationError, match=r"GATE-1: options\.colour: there is no such option"):
        Fleet(bench.registry)


def test_the_registry_file_is_followed_by_itself_even_after_a_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, logged: list[Mapping[str, Any]]
) -> None:
    looked_again = threading.Event()
    faults = [ZeroDivisionError()]

    def refresh() -> bool:
        if faults:
            raise faults.pop()
        looked_again.set()
        return False

    async def story() -> None:
        async with bench.app.router.lifespan_context(bench.app):
            assert await asyncio.to_thread(looked_again.wait, timeout=10)

    monkeypatch.setattr(bench.registry, "refresh", refresh)
    monkeypatch.setattr("producers.push.fleet.REFRESH_SECONDS", 0)
    asyncio.run(story())
    assert [entry["log_level"] for entry in logged] == ["error"]


def test_a_device_whose_adapter_does_not_exist_is_reported(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    Fleet(bench.registry)
    assert [entry["device_id"] for entry in logged if entry["log_level"] == "error"] == ["TYPO"]
