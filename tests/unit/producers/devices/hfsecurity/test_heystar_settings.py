"""The settings of HeyStar terminals: read back, compared, and written only when somebody says so."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import pytest

from attendance.errors import DeviceRefused
from attendance.fleet import Device
from producers.devices.common.settings import Setting
from producers.devices.contract import Fetch, Page, Tools
from producers.devices.hfsecurity.heystar_pull import LOOK_AFTER
from producers.devices.hfsecurity.pull import HfSecurityPull
from sandbox.terminals.base import Punch
from sandbox.terminals.heystar_asked import HeyStarDevice, HeyStarMiddleware
from sandbox.terminals.hfsecurity import LanDevice

SERIAL = "00aa11bb22cc33dd44"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
RECORD, HEARTBEAT = "sevUploadRecRecordUrl", "sevUploadDevHeartbeatUrl"
WANTED = {RECORD: "http://10.0.0.9:8080/hf/t%2F1/record", HEARTBEAT: "http://10.0.0.9:8080/hf/t%2F1/heartbeat"}
T = TypeVar("T")
Terminal = HeyStarDevice | LanDevice


@pytest.fixture
def terminal() -> HeyStarDevice:
    return HeyStarDevice(SERIAL, "Asia/Riyadh", "HFSecurity")


def entry(terminal: Terminal, **options: object) -> Device:
    common = {"device_id": "GATE-3", "site": "riyadh", "timezone": "Asia/Riyadh"}
    of_terminal: dict[str, Any] = dict(terminal.registry_entry())
    of_terminal["options"] = {**of_terminal["options"], "callback_url": "http://10.0.0.9:8080/hf/{token}", **options}
    return Device.model_validate({**common, "credentials": dict.fromkeys(terminal.credentials(), "X"), **of_terminal})


def with_adapter(terminal: Terminal, work: Callable[[HfSecurityPull], Awaitable[T]]) -> T:
    secrets = {**terminal.credentials(), "token": "t/1"}

    async def run() -> T:
        async with terminal.serving(), httpx.AsyncClient(timeout=5, trust_env=False) as http:
            return await work(HfSecurityPull(Tools(http, lambda _device, name: secrets[name], ())))

    return asyncio.run(run())


def compared(terminal: Terminal, **options: object) -> dict[str, Setting]:
    found = with_adapter(terminal, lambda adapter: adapter.settings(entry(terminal, **options)))
    return {each.name: each for each in found}


def configured(terminal: Terminal, names: Collection[str], **options: object) -> Sequence[Setting]:
    return with_adapter(terminal, lambda adapter: adapter.configure(entry(terminal, **options), names))


def as_wanted(terminal: HeyStarDevice) -> None:
    terminal.server |= WANTED | {"sevUploadRecStrangerDataEnable": 0, "sevUploadRecSnapshotEnable": 0}
    terminal.recognition |= {"recRecordUploadMode": 2, "recRecordSaveDays": 14}


def test_what_a_terminal_has_from_the_factory_differs(terminal: HeyStarDevice) -> None:
    differ = {name for name, each in compared(terminal).items() if each.differs}
    assert differ == {
        *(RECORD, HEARTBEAT, "recRecordUploadMode", "recRecordSaveDays"),
        *("sevUploadRecSnapshotEnable", "sevUploadRecStrangerDataEnable"),
    }


def test_what_is_as_wanted_does_not_differ(terminal: HeyStarDevice) -> None:
    as_wanted(terminal)
    assert not any(each.differs for each in compared(terminal).values())


@pytest.mark.parametrize(
    ("name", "value", "differs"),
    [
        ("recRecordUploadMode", "2", False),
        ("recRecordUploadMode", 3, True),
        ("recRecordSave", 0, True),
        ("recRecordSaveDays", "30", False),
        ("recRecordSaveDays", 13, True),
        ("recRecordSaveDays", "often", True),
        ("recRecordSaveDays", "", None),
        ("recRecordSaveDays", None, None),
    ],
)
def test_a_number_is_compared_however_it_is_written(
    terminal: HeyStarDevice, name: str, value: object, differs: object
) -> None:
    as_wanted(terminal)
    terminal.recognition[name] = value
    assert compared(terminal)[name].differs is differs


def test_qr_codes_are_asked_for_where_people_punch_by_them(terminal: HeyStarDevice) -> None:
    assert "sevUploadRecQrcodeDataEnable" not in compared(terminal)
    assert compared(terminal, qr_codes=True)["sevUploadRecQrcodeDataEnable"].differs


@pytest.mark.parametrize(
    ("url", "has"),
    [
        (None, "nowhere"),
        ("http://10.9.9.9/hf/t%2F1/record", "10.9.9.9:80"),
        ("http://10.0.0.9:8080/hf/other-token/record", "10.0.0.9:8080, another path"),
    ],
)
def test_an_address_is_compared_by_host_port_and_path_and_shown_without_its_token(
    terminal: HeyStarDevice, url: str | None, has: str
) -> None:
    as_wanted(terminal)
    terminal.server[RECORD] = url
    assert compared(terminal)[RECORD] == Setting(RECORD, has, "10.0.0.9:8080", True)


def test_without_an_address_in_the_entry_none_is_compared(terminal: HeyStarDevice) -> None:
    assert not {RECORD, HEARTBEAT} & compared(terminal, callback_url=None).keys()


def test_addresses_in_a_list_are_found(terminal: HeyStarDevice) -> None:
    as_wanted(terminal)
    del terminal.server[RECORD]
    terminal.server["uploadUrl"] = [{"type": 1, "url": "http://x/"}, {"type": "2", "url": WANTED[RECORD]}]
    assert not compared(terminal)[RECORD].differs


@pytest.mark.parametrize("kind", [HeyStarDevice, HeyStarMiddleware])
def test_exactly_what_somebody_saw_to_differ_is_written_and_read_back(kind: type[HeyStarDevice]) -> None:
    terminal = kind(SERIAL, "Asia/Riyadh", "HFSecurity")
    names = [RECORD, "recRecordUploadMode", "recRecordSave"]
    after = {each.name: each.differs for each in configured(terminal, names)}
    assert (after[RECORD], after["recRecordUploadMode"], after[HEARTBEAT]) == (False, False, True)
    written = {name: value for verb, given in terminal.writes if "Url" not in verb for name, value in given.items()}
    assert written.keys() == {RECORD, "recRecordUploadMode"}
    assert str(written["recRecordUploadMode"]) == "2"
    lists = [given for verb, given in terminal.writes if verb == "device/setUploadUrl"]
    assert lists == ([[{"type": 2, "url": WANTED[RECORD]}]] if kind is HeyStarDevice else [])


def test_a_number_is_written_as_the_terminal_writes_it(terminal: HeyStarDevice) -> None:
    as_wanted(terminal)
    terminal.recognition["recRecordUploadMode"] = "1"
    terminal.server["sevUploadRecSnapshotEnable"] = True
    configured(terminal, ["recRecordUploadMode", "sevUploadRecSnapshotEnable"])
    assert terminal.recognition["recRecordUploadMode"] == "2"
    assert terminal.server["sevUploadRecSnapshotEnable"] is False


def test_nothing_is_written_to_another_terminal(terminal: HeyStarDevice) -> None:
    device = entry(terminal).model_copy(update={"serial": "00ee"})
    with pytest.raises(DeviceRefused):
        with_adapter(terminal, lambda adapter: adapter.configure(device, [RECORD]))
    assert terminal.writes == []


def test_a_reset_is_seen_in_the_status_within_a_while_and_nothing_is_written(terminal: HeyStarDevice) -> None:
    as_wanted(terminal)

    async def work(adapter: HfSecurityPull) -> list[object]:
        found = []
        for minutes in (0, 1, 16):
            wanted = Fetch(entry(terminal), {}, None, None, NOW + timedelta(minutes=minutes))
            pages: list[Page] = [page async for page in adapter.fetch(wanted)]
            report = pages[-1].report
            assert report is not None
            found.append(report.details["settings"])
            terminal.reset()
        return found

    first, second, third = with_adapter(terminal, work)
    assert (first, second) == ("as wanted", "as wanted")
    assert f"{RECORD} is nowhere, wanted 10.0.0.9:8080" in str(third)
    assert "t/1" not in str(third)
    assert "t%2F1" not in str(third)
    assert terminal.writes == []
    assert timedelta(minutes=15) == LOOK_AFTER


@pytest.mark.parametrize(("kept", "claims"), [(1, True), ("0", False), (0, False)])
def test_a_terminal_that_keeps_no_records_claims_nothing(
    terminal: HeyStarDevice, kept: object, *, claims: bool
) -> None:
    terminal.recognition["recRecordSave"] = kept

    async def work(adapter: HfSecurityPull) -> list[Page]:
        return [page async for page in adapter.fetch(Fetch(entry(terminal), {}, None, None, NOW))]

    assert (with_adapter(terminal, work)[-1].complete_until is not None) is claims


def test_settings_that_cannot_be_read_hold_up_no_punch(terminal: HeyStarDevice) -> None:
    terminal.memory = [Punch("7", datetime.fromisoformat("2026-03-02 08:00:00"))]
    terminal.server = terminal.recognition = {}

    async def work(adapter: HfSecurityPull) -> list[Page]:
        return [page async for page in adapter.fetch(Fetch(entry(terminal), {}, None, None, NOW))]

    assert sum(len(page.events) for page in with_adapter(terminal, work)) == 1


class TestALanApi:
    @pytest.fixture
    def terminal(self) -> LanDevice:
        return LanDevice(SERIAL, "Asia/Riyadh", "12345678")

    def test_its_address_is_compared_and_written_when_somebody_says_so(self, terminal: LanDevice) -> None:
        assert compared(terminal)["callback"] == Setting("callback", "nowhere", "10.0.0.9:8080", True)
        assert terminal.writes == []
        configured(terminal, [])
        assert terminal.writes == []
        (after,) = configured(terminal, ["callback"])
        assert (after.has, after.differs) == ("10.0.0.9:8080", False)
