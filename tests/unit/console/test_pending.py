"""Devices that ask to be let in: listed, let in and taken from the list, by page and by API."""

import re
from typing import Any

import pytest
from console_site import ConsoleSite, csrf_of, sign_in, text_of
from httpx import Response

from attendance.records.activity import Activity
from attendance.records.console_user import Role
from attendance.records.terminals import PendingDevice, PendingKey
from attendance.wire import encode_json

SEEN = {"first_seen": "2026-03-01T08:00:00Z", "last_seen": "2026-03-02T08:00:00Z"}


def ask(site: ConsoleSite, serial: str, *clients: str, device_id: str | None = None, **facts: str) -> None:
    """A device asks to be let in."""
    seen = {"clients": dict.fromkeys(clients, 1), "visits": len(clients), "device_id": device_id}
    device = PendingDevice("zkteco_adms", serial, **SEEN, requests=3, client=clients[-1], facts=facts, **seen)  # type: ignore[arg-type]
    site.context.terminals.apply(site.log.add("terminals", device.key, device.encode()))


def send(
    console: ConsoleSite, path: str, role: Role = "it", sites: tuple[str, ...] | None = None, /, **form: Any
) -> Response:
    browser = sign_in(console, role, sites)
    token = csrf_of(browser.get("/"))
    return browser.post(path, data={"csrf": token, **form})


def done(site: ConsoleSite) -> list[tuple[str, dict[str, str]]]:
    found = [Activity.decode(each.value) for each in site.log.records("console_activity")]
    return [(each.action, dict(each.about)) for each in found if each.state == "done"]


def removed(site: ConsoleSite) -> list[bytes | None]:
    """The keys of those that were taken from the list."""
    return [each.key for each in site.log.sent if each.value is None]


@pytest.fixture
def asking(site: ConsoleSite) -> ConsoleSite:
    ask(site, "SN7", "10.0.0.7", "10.0.0.7", FWVersion="<script>8</script>\u202e")
    ask(site, "SN8", "10.0.0.8")
    ask(site, "SN9", "10.0.0.9", "10.9.9.9")
    return site


def test_they_are_listed_with_what_they_say_which_does_nothing(asking: ConsoleSite) -> None:
    page = sign_in(asking, "it").get("/pending").text
    assert re.findall(r'name="serials" value="(\w+)"', page)[0] in ("SN7", "SN9")
    assert "&lt;script&gt;8&lt;/script&gt;\\u202e" in page
    assert "ask to be let in: 3" in text_of(sign_in(asking, "it").get("/devices").text)


@pytest.mark.parametrize(("q", "found"), [("sn8", ["SN8"]), ("10.9.9.9", ["SN9"]), ("fwversion", ["SN7"]), ("x", [])])
def test_they_are_searched(asking: ConsoleSite, q: str, found: list[str]) -> None:
    page = sign_in(asking, "it").get(f"/pending?q={q}").text
    assert re.findall(r'name="serials" value="(\w+)"', page) == found


def test_many_are_let_in_at_once_as_the_consoles_own(asking: ConsoleSite) -> None:
    form = {"serials": ["SN7", "SN8"], "site": "s", "timezone": "Asia/Riyadh", "direction": "in", "where": "seen"}
    assert "Let in: SN7, SN8" in text_of(send(asking, "/pending/approve", **form).text)
    device = asking.registry.get("SN7")
    assert device is not None
    assert (device.site, device.direction, device.addresses, device.adapter) == (
        "s",
        "in",
        ("10.0.0.7/32",),
        "zkteco_adms",
    )
    assert sign_in(asking, "it").get("/devices/SN7/edit").status_code == 200
    assert done(asking) == [("device.approve", {"serial": "SN7, SN8", "site": "s"})]
    assert removed(asking) == [encode_json(PendingKey("zkteco_adms", serial)) for serial in ("SN7", "SN8")]
    assert re.findall(r'name="serials" value="(\w+)"', sign_in(asking, "it").get("/pending").text) == ["SN9"]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"serials": [], "site": "s"}, "Choose at least one device"),
        ({"serials": ["SN7"]}, "Say at which site"),
        ({"serials": ["SN7"], "site": "s", "where": "given"}, "from which addresses"),
        ({"serials": ["SN7"], "site": "s", "where": "given", "addresses": "ten"}, "is no address and no network"),
        ({"serials": ["SN9"], "site": "s", "where": "seen", "timezone": "UTC"}, "say which one is the terminal"),
        ({"serials": ["SN7"], "site": "<b>", "timezone": "UTC"}, "site"),
        ({"serials": ["SN7"], "site": "S", "timezone": "UTC"}, "There is a site s already"),
        ({"serials": ["SN7"], "site": "s", "timezone": "Mars"}, "Mars"),
        ({"serials": ["SN7", "SN8"], "site": "s", "device_id": "GATE", "timezone": "UTC"}, "for one terminal"),
        ({"serials": ["SN7"], "site": "s", "device_id": "D1", "timezone": "UTC"}, "there is D1 already"),
        ({"serials": ["SN1"], "site": "s", "timezone": "UTC"}, "SN1 does not ask to be let in any more"),
        ({"serials": ["SN7"], "site": "s", "timezone": "UTC", "direction": "up"}, "direction"),
    ],
)
def test_what_cannot_be_is_refused_and_what_was_typed_stays(
    asking: ConsoleSite, form: dict[str, Any], said: str
) -> None:
    answer = send(asking, "/pending/approve", **form)
    assert answer.status_code == 409
    assert said in text_of(answer.text)
    assert 'role="alert"' in answer.text
    for name in ("site", "timezone", "device_id", "addresses"):
        if value := form.get(name):
            assert f'value="{value.replace("<", "&lt;").replace(">", "&gt;")}"' in answer.text
    assert answer.text.count(" checked> <bdi>SN") == len({*form["serials"]} & {"SN7", "SN8", "SN9"})
    assert not asking.log.records("fleet")
    assert not removed(asking)
    assert not done(asking)


def test_a_device_is_put_only_at_a_site_that_one_sees(asking: ConsoleSite) -> None:
    form = {"serials": ["SN7"], "site": "s", "timezone": "UTC"}
    assert send(asking, "/pending/approve", "it", ("elsewhere",), **form).status_code == 409
    assert send(asking, "/pending/approve", "it", ("s",), **form).status_code == 200


def test_those_that_are_taken_from_the_list_are_in_no_fleet(asking: ConsoleSite) -> None:
    answer = send(asking, "/pending/forget", serials=["SN8", "SN9"])
    assert "Taken from the list: 2." in text_of(answer.text)
    assert len(removed(asking)) == 2
    assert not asking.log.records("fleet")
    assert done(asking) == [("device.forget", {"serial": "SN8, SN9"})]


def test_another_address_is_let_in_for_the_consoles_own_device_only(asking: ConsoleSite) -> None:
    form = {"serials": ["SN7"], "site": "s", "timezone": "UTC", "device_id": "GATE"}
    send(asking, "/pending/approve", **form)
    ask(asking, "SN7", "10.7.7.7", device_id="GATE")
    page = sign_in(asking, "it").get("/pending").text
    assert "GATE, from another address than it may" in page
    assert "GATE" not in text_of(sign_in(asking, "it", ("elsewhere",)).get("/pending").text)
    send(asking, "/pending/approve", serials=["SN7"], where="seen")
    assert asking.registry.get("GATE").addresses == ("10.7.7.7/32",)  # type: ignore[union-attr]


def token(site: ConsoleSite, role: str, *sites: str) -> dict[str, str]:
    browser = site.signed_in()
    csrf = csrf_of(browser.get("/accounts"))
    where: dict[str, Any] = {"sites": list(sites)} if sites else {"every": "true"}
    said = browser.post("/accounts/tokens/add", data={"csrf": csrf, "name": "tool", "role": role, "days": "2", **where})
    (text,) = re.findall(r"said once: (\S+)", text_of(said.text))
    return {"authorization": f"Bearer {text}"}


def test_the_api_lets_devices_in_as_the_page_does(asking: ConsoleSite) -> None:
    headers, program = token(asking, "it"), asking.browser()
    found = program.get("/api/v1/pending-devices", headers=headers).json()
    assert {each["serial"] for each in found} == {"SN7", "SN8", "SN9"}
    given = {"serials": ["SN7"], "site": "s", "timezone": "UTC", "device_id": "GATE"}
    answer = program.post("/api/v1/pending-devices/approve", json=given, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"device_ids": ["GATE"]})
    assert asking.registry.get("GATE").addresses == ("10.0.0.7/32",)  # type: ignore[union-attr]
    again = program.post("/api/v1/pending-devices/approve", json=given, headers=headers)
    assert (again.status_code, "does not ask" in again.json()["error"]) == (409, True)
    forgotten = program.post("/api/v1/pending-devices/forget", json={"serials": ["SN8"]}, headers=headers)
    assert forgotten.json() == {"count": 1}
    for role in ("viewer", "hr"):
        assert program.get("/api/v1/pending-devices", headers=token(asking, role)).status_code == 403


def test_the_api_shows_and_changes_devices_as_the_pages_do(site: ConsoleSite) -> None:
    headers, program = token(site, "it"), site.browser()

    def call(method: str, path: str, **options: Any) -> tuple[int, Any]:
        answer = getattr(program, method)(f"/api/v1/devices{path}", headers=headers, **options)
        return answer.status_code, answer.json() if answer.content else None

    status, page = call("get", "?site=s&limit=2")
    assert (status, page["total"], len(page["devices"])) == (200, 3, 2)
    assert page["devices"][0].keys() & {"token_sha256", "credentials", "options"} == set()
    new = {"device_id": "GATE", "site": "s", "timezone": "UTC", "adapter": "json", "port": 80}
    status, made = call("post", "", json=new)
    assert (status, len(made["key"]) > 20) == (201, True)
    assert call("post", "", json=new)[0] == 409
    assert call("post", "", json=new | {"device_id": "G2", "colour": "red"})[0] == 422
    status, device = call("patch", "/GATE", json={"name": "Main", "disabled": True, "port": ""})
    assert (status, device["name"], device["disabled"], device["source"]) == (200, "Main", True, "console")
    status, device = call("post", "/D1/pause", json={"why": "moved"})
    assert (device["state"], device["paused"]["by"], device["paused"]["why"]) == ("paused", "tool", "moved")
    assert call("get", "?state=paused")[1]["total"] == 1
    status, device = call("post", "/D1/resume")
    assert (status, device["paused"]) == (200, None)
    status, checks = call("post", "/D1/test")
    assert (status, checks[0]["check"], checks[0]["ok"]) == (200, "entry", True)
    assert call("post", "/D1/backfill", json={"first": "2026-03-01", "last": "2026-03-01"})[0] == 409
    assert call("get", "/D1/backfill")[0] == 404
    assert len(call("post", "/GATE/key")[1]["key"]) > 20
    assert call("patch", "/D1", json={"name": "Mine"})[0] == 409
    assert call("delete", "/GATE")[0] == 204
    assert call("get", "/GATE")[0] == 404
    acts = [action for action, _about in done(site) if action.startswith("device.")]
    assert acts == [
        *("device.add", "device.change", "device.change", "device.pause", "device.resume", "device.token"),
        "device.remove",
    ]


def test_a_token_without_the_right_or_for_other_sites_changes_nothing(site: ConsoleSite) -> None:
    program = site.browser()
    viewer, elsewhere = token(site, "viewer"), token(site, "it", "elsewhere")
    site.put(site.users.user("fatima"))  # type: ignore[arg-type]
    assert program.get("/api/v1/devices/D1", headers=viewer).status_code == 200
    assert program.get("/api/v1/devices/D1", headers=elsewhere).status_code == 404
    assert program.get("/api/v1/devices", headers=elsewhere).json() == {"total": 0, "devices": []}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("pause", {"why": "moved"}),
        ("resume", {}),
        ("test", {}),
        ("backfill", {"first": "2026-03-01", "last": "2026-03-01"}),
        ("key", {}),
    ]
    for path, given in calls:
        for headers, status in ((viewer, 403), (elsewhere, 404)):
            answer = program.post(f"/api/v1/devices/D1/{path}", json=given, headers=headers)
            assert (path, answer.status_code) == (path, status)
    assert not site.log.records("fleet")
