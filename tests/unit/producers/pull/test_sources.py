"""Which devices are asked, with which adapter and which credentials."""

from typing import Any

import httpx
import pytest

from attendance.errors import ConfigurationError, DeviceRefused
from attendance.fleet import Device
from attendance.records.fleet import DevicePause
from attendance.times import now
from producers.devices.contract import Tools
from producers.pull.sources import Adapters, secret, sources
from pulling import device


def entry(name: str, **fields: Any) -> Device:
    return device(name, **{"token_sha256": "0" * 64, **fields})


def test_who_is_to_be_asked() -> None:
    fleet = [
        entry("pulled"),
        entry("off", disabled=True),
        entry("paused").model_copy(update={"paused": DevicePause("paused", now(), "fatima", "moved")}),
        entry("pushes", mode="push", adapter="hfsecurity"),
        entry("reconciled", mode="push", adapter="hfsecurity", interval=600),
        entry("cannot", mode="push", adapter="json", interval=600),
        entry("file", mode="file"),
    ]
    assert sources(fleet).keys() == {"pulled", "reconciled"}


def test_a_server_is_asked_for_the_terminals_whose_records_it_holds() -> None:
    gate, door = entry("gate", via="server", serial="G1"), entry("door", via="server", serial="D1")
    off = entry("off", via="server", serial="O1", disabled=True)
    found = sources([entry("server"), gate, door, off, entry("alone", serial="G1")])
    assert {name: dict(each.terminals) for name, each in found.items()} == {
        "server": {"G1": gate, "D1": door, "O1": off},
        "alone": {"G1": entry("alone", serial="G1")},
    }


def adapters() -> Adapters:
    return Adapters(Tools(httpx.AsyncClient(), secret, ()))


def test_an_adapter_that_there_is_not_is_named_with_its_device() -> None:
    with pytest.raises(ConfigurationError, match=r"^D1: adapter 'nonsense' is none of the pull adapters"):
        adapters().of(device(adapter="nonsense"))


def test_an_option_that_there_is_not_is_named_with_its_device() -> None:
    with pytest.raises(ConfigurationError, match=r"^D1: options\.tsl: there is no such option"):
        adapters().of(device("D1", adapter="hikvision", host="10.0.0.7", options={"tsl": True}))


def test_devices_of_one_kind_share_their_adapter() -> None:
    made = adapters()
    first, second = (device(each, adapter="hfsecurity", host="192.0.2.7") for each in ("D1", "D2"))
    assert made.of(first) is made.of(second)


def test_a_credential_is_read_from_the_variable_that_the_entry_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "swordfish")
    asked = device(credentials={"password": "GATE_PASSWORD", "user": "NO_SUCH_VARIABLE"})
    assert secret(asked, "password") == "swordfish"
    with pytest.raises(DeviceRefused, match="NO_SUCH_VARIABLE is not set"):
        secret(asked, "user")
    with pytest.raises(DeviceRefused, match="names no token"):
        secret(asked, "token")
