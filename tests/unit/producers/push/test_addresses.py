"""A serial number opens a device only from where it was approved, or with the token of its path."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pushing import GATE, TOKEN, Bench, batch

from attendance.fleet import hash_token

LINE = b"417\t2026-03-02 08:00:02\t0\t15\t0\t0\t0"
UPLOAD = "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=9999"
ADMS: dict[str, object] = {
    "device_id": "ADMS-1",
    "site": "riyadh",
    "timezone": "Asia/Riyadh",
    "adapter": "zkteco_adms",
    "serial": "SN1",
}
KEY = "Key-of-the-path-81c7"


def bench_of(directory: Path, **fields: object) -> Bench:
    return Bench(directory, [ADMS | fields])


def ask(bench: Bench, path: str, client: str, body: bytes = LINE) -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(bench.app, client=(client, 4370))
        async with httpx.AsyncClient(transport=transport, base_url="http://push") as http:
            return await http.post(path, content=body)

    return asyncio.run(request())


@pytest.mark.parametrize("client", ["10.2.0.7", "10.2.255.1", "::ffff:10.2.0.7", "2001:db8::7", "192.0.2.9"])
def test_a_device_pushes_from_its_addresses(tmp_path: Path, client: str) -> None:
    bench = bench_of(tmp_path, addresses=["10.2.0.0/16", "2001:db8::/64", "192.0.2.9"])

    assert ask(bench, UPLOAD, client).text == "OK: 1"


@pytest.mark.parametrize("client", ["10.3.0.7", "2001:db8:0:1::7", "::ffff:10.3.0.7", "192.0.2.10", "testclient", ""])
def test_from_elsewhere_it_is_refused_counted_and_waits_for_approval_anew(
    tmp_path: Path, client: str, logged: list[Mapping[str, Any]]
) -> None:
    bench = bench_of(tmp_path, addresses=["10.2.0.0/16", "2001:db8::/64", "192.0.2.9"])

    response = ask(bench, UPLOAD, client)

    assert (response.status_code, bench.kafka.events(), bench.refused("wrong_address")) == (403, [], True)
    assert bench.terminals.stamps("ADMS-1") == {}
    [waiting] = bench.terminals.pending()
    assert (waiting.serial, waiting.device_id, waiting.client) == ("SN1", "ADMS-1", client)
    assert not [entry for entry in logged if "Refused" in entry["event"]]  # said once, as one that waits


def test_neither_a_handshake_nor_a_result_of_a_command_is_taken_from_elsewhere(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, addresses="10.2.0.7")

    for path in ("/iclock/cdata?SN=SN1&options=all", "/iclock/getrequest?SN=SN1", "/iclock/devicecmd?SN=SN1"):
        assert ask(bench, path, "10.2.0.8", b"").status_code == 403
    assert bench.terminals.stamps("ADMS-1") == {}


def test_an_entry_without_addresses_works_as_ever_and_that_is_said_once(
    tmp_path: Path, logged: list[Mapping[str, Any]]
) -> None:
    bench = bench_of(tmp_path)

    assert ask(bench, UPLOAD, "203.0.113.5").text == "OK: 1"

    def said() -> list[Any]:
        return [entry["examples"] for entry in logged if "serial number alone" in entry["event"]]

    assert said() == [["ADMS-1"]]
    bench.write([ADMS, ADMS | {"device_id": "ADMS-2", "serial": "SN2"}])
    for _ in range(2):
        asyncio.run(bench.app.fleet.refresh())
    assert said() == [["ADMS-1"], ["ADMS-2"]]


def test_a_token_counts_from_its_addresses_alone_too(tmp_path: Path, logged: list[Mapping[str, Any]]) -> None:
    bench = Bench(tmp_path, [GATE | {"addresses": ["10.2.0.0/16"]}])

    assert bench.post(batch()) == (401, {"ok": False, "error": "unknown_device"})
    [refused] = [entry for entry in logged if entry["event"] == "Refused a request."]
    assert (refused["cause"], refused["device_id"]) == ("wrong_address", "GATE-1")
    assert "10.2.0.0/16" in refused["why"]
    assert TOKEN not in str(logged)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/adms/{KEY}/iclock/cdata?SN=SN1&table=ATTLOG", 200),
        (f"/adms/{KEY}/iclock/cdata.aspx?sn=SN1&table=ATTLOG", 200),
        (f"/adms/{KEY}/iclock/getrequest?SN=SN1", 200),
        (f"/adms/{KEY}/iclock/cdata?SN=SN2&table=ATTLOG", 403),
        (f"/adms/{KEY}x/iclock/cdata?SN=SN1&table=ATTLOG", 403),
        (f"/adms/{KEY.lower()}/iclock/cdata?SN=SN1&table=ATTLOG", 403),
        ("/iclock/cdata?SN=SN1&table=ATTLOG", 403),
        (f"/iclock/cdata?SN=SN1&table=ATTLOG&token={KEY}", 403),
    ],
)
def test_with_a_token_in_its_entry_the_path_needs_it_beside_the_serial_number(
    tmp_path: Path, path: str, status: int, logged: list[Mapping[str, Any]]
) -> None:
    bench = bench_of(tmp_path, token_sha256=hash_token(KEY))

    assert ask(bench, path, "10.2.0.7").status_code == status
    assert KEY not in str(logged)
    assert KEY.encode() not in b"".join(record.value or b"" for record in bench.kafka.records)


def test_what_is_not_understood_is_kept_without_the_token_of_the_path(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, token_sha256=hash_token(KEY))

    assert ask(bench, f"/adms/{KEY}/iclock/cdata?SN=SN1&table=NEWLOG", "10.2.0.7", b"x=1").status_code == 200

    [unread] = bench.kafka.unread()
    assert unread.path == "/adms/ADMS-1/iclock/cdata"
