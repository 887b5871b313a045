"""What is done with devices: by page and by API, and what is written down of it."""

import asyncio
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from console_site import ConsoleSite, csrf_of, sign_in, text_of
from httpx import Response
from ledger_story import START

from attendance.errors import DeviceUnavailable
from attendance.fleet import hash_token
from attendance.records.activity import Activity
from attendance.records.console_user import Role
from attendance.records.terminals import Order
from console import backfills
from console.actions import devices as actions
from console.backfills import Backfill, Backfills
from console.rights import Actor
from ledger.device_statuses import LedgerStatuses
from operations import backfill as operations_backfill
from operations.devices import DeviceCheck
from operations.facts import StatusFact
from operations.fleet import read_fleet, write
from operations.fleet_plan import Wanted
from operations.reconcile import Fetched
from producers.devices.common.settings import Setting

NEW = {"device_id": "GATE", "site": "s", "timezone": "Asia/Riyadh", "mode": "push", "adapter": "json", "name": "Main"}
TERMINAL = {"site": "s", "timezone": "Asia/Riyadh", "mode": "push", "adapter": "zkteco_adms", "serial": "SN1"}


def activities(site: ConsoleSite) -> list[tuple[str, str, str | None]]:
    found = [Activity.decode(each.value) for each in site.log.records("console_activity")]
    return [(each.action, each.state, each.note) for each in found]


def send(
    console: ConsoleSite, path: str, role: Role = "it", sites: tuple[str, ...] | None = None, /, **form: Any
) -> Response:
    """What somebody of a role hears who sends a form."""
    browser = sign_in(console, role, sites)
    return browser.post(path, data={"csrf": csrf_of(browser.get("/")), **form})


def written(site: ConsoleSite, source: str, device_id: str, **fields: Any) -> None:
    """Another source has a device."""

    async def story() -> None:
        wanted = Wanted(source, "zoe", {("device", device_id): TERMINAL | fields})
        await write(site.log, wanted, await read_fleet(site.log))

    asyncio.run(story())
    site.registry.refresh()


def test_a_device_of_a_file_is_paused_with_a_reason_and_resumed(site: ConsoleSite) -> None:
    said = text_of(send(site, "/pause", names=["D1"], why="moved <b>", back="/devices/D1").text)
    assert "Paused: 1" in said
    page = sign_in(site, "it").get("/devices/D1").text
    assert "moved &lt;b&gt;" in page
    assert "Paused by it" in text_of(page)
    assert "Paused" in text_of(site.signed_in().get("/").text)
    assert sign_in(site, "it").get("/devices?state=paused").text.count('href="/devices/D1"') == 1
    assert "Resumed: 1" in text_of(send(site, "/resume", names=["D1"]).text)
    assert site.registry.get("D1").paused is None  # type: ignore[union-attr]
    assert activities(site) == [
        ("device.pause", "begun", "moved <b>"),
        ("device.pause", "done", "moved <b>"),
        ("device.resume", "begun", None),
        ("device.resume", "done", None),
    ]


def test_several_are_paused_at_once_or_none(site: ConsoleSite) -> None:
    assert "Paused: 2" in text_of(send(site, "/pause", names=["D1", "D2"], why="painted").text)
    answer = send(site, "/pause", names=["D3", "D9"], why="painted")
    assert (answer.status_code, "no device D9" in answer.text) == (409, True)
    assert {each.device_id for each in site.registry if each.paused} == {"D1", "D2"}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"names": ["D1"], "why": " "}, "Say why"),
        ({"why": "moved"}, "Choose at least one device"),
        ({"names": ["T1"], "why": "moved"}, "SERVER holds the punches of T1"),
        ({"names": ["STICK"], "why": "moved"}, "by file"),
    ],
)
def test_what_cannot_be_paused_is_said_in_words(site: ConsoleSite, form: dict[str, Any], said: str) -> None:
    written(site, "command", "SERVER", mode="pull", adapter="zkteco_tcp", host="127.0.0.1", serial="S0")
    written(site, "command", "T1", via="SERVER")
    written(site, "command", "STICK", mode="file", adapter="attlog", serial=None)
    answer = send(site, "/pause", **form)
    assert answer.status_code == 409
    assert said in text_of(answer.text)
    assert not activities(site)


@pytest.mark.parametrize(
    "path",
    [
        *("/pause", "/resume", "/devices/D1/test", "/devices/D1/backfill", "/devices/D1/configure"),
        *("/devices/D1/settings", "/add-device", "/devices/D1/edit", "/devices/D1/remove", "/devices/D1/key"),
        *("/devices/D1/disable", "/pending/approve", "/pending/forget"),
    ],
)
def test_only_whoever_has_the_right_and_the_token_of_the_session_acts(site: ConsoleSite, path: str) -> None:
    form = {"names": ["D1"], "why": "moved", "first": "2026-03-01", "last": "2026-03-01"}
    roles: tuple[Role, ...] = ("viewer", "hr")
    for role in roles:
        assert send(site, path, role, **form).status_code == 403
    assert sign_in(site, "it").post(path, data={"csrf": "guessed", **form}).status_code == 403
    assert site.browser().post(path, data={"csrf": "guessed", **form}).url.path == "/sign-in"
    assert not activities(site)
    assert not site.log.records("fleet")


def test_whoever_looks_after_other_sites_neither_sees_nor_touches_a_device(site: ConsoleSite) -> None:
    browser = sign_in(site, "it", ("elsewhere",))
    assert "D1" not in text_of(browser.get("/devices").text)
    assert browser.get("/devices/D1").status_code == 404
    assert browser.get("/devices/D1/backfill").status_code == 404
    for path, form in [
        ("/pause", {"names": ["D1"], "why": "moved"}),
        ("/devices/D1/test", {}),
        ("/devices/D1/backfill", {"first": "2026-03-01", "last": "2026-03-01"}),
        ("/add-device", NEW),
    ]:
        assert send(site, path, "it", ("elsewhere",), **form).status_code == 409, path
    assert not site.log.records("fleet")


def test_a_viewer_sees_a_device_and_nothing_to_press(site: ConsoleSite) -> None:
    page = sign_in(site, "viewer").get("/devices/D1").text
    assert "tried on a simulated device only" in page
    assert "the fleet files" in page
    assert 'action="/pause"' not in page
    assert 'name="names"' not in sign_in(site, "viewer").get("/devices").text
    assert sign_in(site, "viewer").get("/pending").status_code == 403
    assert sign_in(site, "viewer").get("/add-device").status_code == 403


def test_a_device_is_added_changed_switched_off_and_removed_by_the_console(site: ConsoleSite) -> None:
    said = text_of(send(site, "/add-device", **NEW, direction="in").text)
    key = re.findall(r"said once: (\S+)", said)[0]
    device = site.registry.get("GATE")
    assert device is not None
    assert (device.name, device.direction, device.token_sha256) == ("Main", "in", hash_token(key))
    assert key not in sign_in(site, "it").get("/devices/GATE/edit").text
    send(
        site,
        "/devices/GATE/edit",
        **{**NEW, "name": "Side", "direction": "", "was_name": "Main", "was_direction": "in"},
    )
    device = site.registry.get("GATE")
    assert device is not None
    assert (device.name, device.direction, device.token_sha256) == ("Side", "from_device", hash_token(key))
    other = re.findall(r"said once: (\S+)", text_of(send(site, "/devices/GATE/key").text))[0]
    assert site.registry.get("GATE").token_sha256 == hash_token(other) != hash_token(key)  # type: ignore[union-attr]
    assert "is switched off" in send(site, "/devices/GATE/disable").text
    assert site.registry.get("GATE").disabled  # type: ignore[union-attr]
    send(site, "/devices/GATE/enable")
    assert "GATE is removed" in send(site, "/devices/GATE/remove").text
    assert site.registry.get("GATE") is None
    assert [action for action, state, _ in activities(site) if state == "done"] == [
        *("device.add", "device.change", "device.token", "device.change", "device.change", "device.remove"),
    ]
    everything = b"".join(each.value or b"" for each in site.log.records("console_activity"))
    assert key.encode() not in everything + b"".join(each.value or b"" for each in site.log.records("fleet"))


def test_a_form_that_cannot_be_keeps_what_was_typed_and_says_why(site: ConsoleSite) -> None:
    answer = send(site, "/add-device", **{**NEW, "timezone": "Mars", "name": "<i>Gate"})
    assert answer.status_code == 409
    assert "Mars" in text_of(answer.text)
    assert 'value="&lt;i&gt;Gate"' in answer.text
    assert 'role="alert"' in answer.text
    assert not site.log.records("fleet")
    assert "There is a device D1 already." in send(site, "/add-device", **{**NEW, "device_id": "D1"}).text
    assert "There is a site s already." in text_of(send(site, "/add-device", **{**NEW, "site": "S "}).text)
    assert not site.log.records("fleet")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file", "belongs to the fleet files"),
        ("command", "belongs to the command line"),
        ("approval", "was let in by the command line"),
        ("erpnext", "belongs to ERPNext"),
        ("riyadh-team", "belongs to riyadh-team"),
    ],
)
def test_what_another_source_wrote_is_not_changed_and_whose_it_is_is_said(
    site: ConsoleSite, source: str, words: str
) -> None:
    name = "D1" if source == "file" else "T1"
    if source != "file":
        written(site, source, "T1")
    before = site.log.records("fleet")
    for path in ("disable", "enable", "key", "remove"):
        answer = send(site, f"/devices/{name}/{path}")
        assert (answer.status_code, f"{name} {words}" in text_of(answer.text)) == (409, True)
    assert sign_in(site, "it").get(f"/devices/{name}/edit").status_code == 404
    assert f"/devices/{name}/edit" not in sign_in(site, "it").get(f"/devices/{name}").text
    assert site.log.records("fleet") == before


def test_what_somebody_else_changed_meanwhile_stays(site: ConsoleSite) -> None:
    send(site, "/add-device", **NEW)
    browser = sign_in(site, "it")
    shown = browser.get("/devices/GATE/edit")
    was = dict(re.findall(r'name="(was_\w+)" value="([^"]*)"', shown.text))
    form = {**NEW, **was, "direction": "", "csrf": csrf_of(shown)}
    send(site, "/devices/GATE/edit", **{**NEW, **was, "direction": "out"})
    assert browser.post("/devices/GATE/edit", data=form | {"name": "Side"}).status_code == 200
    device = site.registry.get("GATE")
    assert device is not None
    assert (device.name, device.direction) == ("Side", "out")


def test_a_test_shows_what_a_device_answers_and_does_no_harm(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(_device: object) -> list[DeviceCheck]:
        return [DeviceCheck("entry", True, "push"), DeviceCheck("answer", False, "<b>no route</b>")]

    monkeypatch.setattr(actions, "ask_device", asked)
    page = send(site, "/devices/D1/test").text
    assert "&lt;b&gt;no route" in page
    assert "Its answer Not good:" in text_of(page)
    assert not activities(site)


def test_nobody_waits_for_ever_for_a_device(site: ConsoleSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_device: object) -> list[DeviceCheck]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(actions, "ask_device", silent)
    monkeypatch.setattr(actions, "ASKED", 0.01)
    assert "none within 0.01 s" in send(site, "/devices/D1/test").text


def test_settings_are_compared_and_those_that_are_chosen_written(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(site, "command", "FACE", mode="pull", adapter="hfsecurity", host="127.0.0.1")
    chosen: list[list[str]] = []

    async def read(_device: object) -> list[Setting]:
        return [Setting("upload", "off", "on", differs=not chosen), Setting("time", "UTC", "UTC", differs=False)]

    async def configure(_device: object, names: list[str]) -> list[Setting]:
        chosen.append(list(names))
        return await read(_device)

    monkeypatch.setattr(actions.device_settings, "read_settings", read)
    monkeypatch.setattr(actions.device_settings, "configure", configure)
    assert "Compare its settings" in sign_in(site, "it").get("/devices/FACE").text
    assert "Compare its settings" not in sign_in(site, "it").get("/devices/D1").text
    page = send(site, "/devices/FACE/settings").text
    assert page.count('name="names" value="upload"') == 1
    assert 'value="time"' not in page
    assert "They are as they should be." in send(site, "/devices/FACE/configure", names=["upload"]).text
    assert chosen == [["upload"]]
    assert send(site, "/devices/FACE/configure").status_code == 409
    assert send(site, "/devices/D1/settings").status_code in (200, 409)
    assert [action for action, _, _ in activities(site)] == ["device.configure", "device.configure"]


def test_a_terminal_that_pushes_is_ordered_to_send_days_again(site: ConsoleSite) -> None:
    written(site, "command", "T1")
    said = send(site, "/devices/T1/backfill", first="2026-03-01", last="2026-03-02").text
    assert "T1 sends them when it next comes." in text_of(said)
    (order,) = (Order.decode(each.value) for each in site.log.sent)
    assert "StartTime=2026-03-01 00:00:00\tEndTime=2026-03-02 23:59:59" in order.command
    site.context.terminals.apply(site.log.add("terminals", order.key, order.encode()))
    assert "has not answered yet" in sign_in(site, "it").get("/devices/T1").text


@pytest.mark.parametrize(
    ("device", "first", "last", "said"),
    [
        ("D1", "2026-03-01", "2026-03-02", "D1 cannot be asked for its punches again"),
        ("T1", "2026-03-02", "2026-03-01", "the last day is before the first one"),
        ("T1", "2099-01-01", "2099-01-01", "in the future"),
        ("T1", "2026-01-01", "2026-03-01", "more than 31 days"),
        ("T1", "yesterday", "2026-03-01", "says something that cannot be"),
    ],
)
def test_days_that_cannot_be_are_refused(site: ConsoleSite, device: str, first: str, last: str, said: str) -> None:
    written(site, "command", "T1")
    answer = send(site, f"/devices/{device}/backfill", first=first, last=last)
    assert answer.status_code in (409, 422)
    assert said in text_of(answer.text)
    assert not site.log.sent


def test_a_device_that_is_asked_gives_its_days_while_its_page_shows_how_far_it_is(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(site, "command", "LAN", mode="pull", adapter="zkteco_tcp", host="127.0.0.1")
    gate = asyncio.Event()

    async def ask(*of: Any) -> Fetched:
        of[-1](3)
        await gate.wait()
        return Fetched(frozenset({"1"}), "LAN gave 7 punches of the days.", new=2)

    monkeypatch.setattr(operations_backfill, "ask", ask)
    actor = Actor("fatima", "it")

    async def story() -> None:
        day = date(2026, 3, 1)
        assert await actions.begin_backfill(site.context, actor, "LAN", day, day) == "asked"
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        with pytest.raises(actions.Refused):
            await actions.begin_backfill(site.context, actor, "LAN", day, day)
        running = site.context.backfills.of("LAN")
        assert running is not None
        assert (running.state, running.pages) == ("running", 3)
        gate.set()
        await asyncio.gather(*site.context.backfills._tasks)
        assert (running.state, running.said) == ("done", "LAN gave 7 punches of the days.")

    asyncio.run(story())
    part = sign_in(site, "viewer").get("/devices/LAN/backfill").text
    assert "LAN gave 7 punches of the days." in part
    assert "hx-get" not in part
    assert "<html" not in part
    assert [state for _, state, _ in activities(site)] == ["begun", "done"]


def test_what_fails_of_a_backfill_is_said_and_the_next_one_may_begin() -> None:
    async def story() -> None:
        known = Backfills()

        async def fails() -> str:
            raise DeviceUnavailable("no route")

        async def breaks() -> str:
            raise KeyError("secret")

        for work, said in ((fails, "no route"), (breaks, "KeyError")):
            backfill = Backfill("2026-03-01", "2026-03-01", "fatima", START)
            assert known.begin("LAN", backfill, work)
            await asyncio.gather(*known._tasks)
            assert (backfill.state, backfill.said) == ("failed", said)

    asyncio.run(story())
    assert backfills.AT_ONCE > 0


def test_the_page_of_one_device_asks_the_ledger_for_that_one(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str] | None] = []
    facts = LedgerStatuses.facts

    async def noted(self: LedgerStatuses, device_ids: Sequence[str] | None = None) -> dict[str, StatusFact]:
        asked.append(device_ids)
        return await facts(self, device_ids)

    browser = site.signed_in()
    monkeypatch.setattr(LedgerStatuses, "facts", noted)
    page = browser.get("/devices/D1")
    assert page.status_code == 200
    assert asked == [["D1"]]
    assert "hours ago" in text_of(page.text)
