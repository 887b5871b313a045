import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from producers.probe import Finding, Look, biotime, by_port, heystar, hf_ims, isapi, lan_api, mips, probe

JSON = "Content-Type: application/json\r\n"


@asynccontextmanager
async def serving(answers: Mapping[str, str]) -> AsyncIterator[int]:
    """A server with the head and body that stand for each path; whatever else is asked gets 404."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        if line:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if length := re.search(r"content-length: (\d+)", head):
                await reader.readexactly(int(length[1]))
            path = line.split()[1]
            writer.write(answers.get(path, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n").encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def http(status: str, headers: str, body: str) -> str:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"


def found(answers: Mapping[str, str], *looks: Look) -> Finding:
    async def scenario() -> list[Finding]:
        async with serving(answers) as port:
            (finding,) = await probe("127.0.0.1", [(port, looks)])
            assert finding.port == port
            return [finding]

    return asyncio.run(scenario())[0]


def test_a_lan_api_tells_its_serial_number() -> None:
    body = '{"code":"LAN_SUS-0","data":"84E0F42AFFFF0001","msg":"","result":1,"success":true}'
    finding = found({"/getDeviceKey": http("200 OK", JSON, body)}, lan_api)
    assert (finding.adapter, finding.serial) == ("hfsecurity", "84E0F42AFFFF0001")


def test_isapi_is_known_by_the_digest_that_it_asks_for() -> None:
    challenge = 'WWW-Authenticate: Digest realm="DS-K1T", nonce="1", qop="auth"\r\n'
    finding = found({"/ISAPI/System/deviceInfo": http("401 Unauthorized", challenge, "")}, isapi, biotime)
    assert (finding.adapter, finding.serial) == ("hikvision", None)


def test_biotime_is_known_by_its_refusal_in_json() -> None:
    refusal = http("401 Unauthorized", JSON, '{"detail":"Authentication credentials were not provided."}')
    assert found({"/iclock/api/terminals/": refusal}, isapi, biotime).adapter == "zkbiotime"


REFUSED = http("200 OK", JSON, '{"code":"401","msg":"password","result":0}')
NOT_FOUND = http("404 Not Found", JSON, '{"timestamp":1,"status":404,"error":"Not Found","code":404}')


@pytest.mark.parametrize(
    ("path", "answer", "what"),
    [
        ("/getDeviceKey", http("200 OK", JSON, '{"code":"LAN_SUS-0","data":"K","result":1,"success":true}'), "LAN API"),
        (
            "/cgi-bin/js/device/get",
            http("401 Unauthorized", 'WWW-Authenticate: Basic realm="admin"\r\n', ""),
            "HeyStar, on the terminal",
        ),
        ("/cgi-bin/js/device/get", REFUSED, "HeyStar, on the terminal"),
        ("/api/device/get", REFUSED, "HF-IMS, HeyStar verbs"),
        ("/api/person/find", http("200 OK", JSON, '{"code":"400","data":null}'), "HF-IMS, old verbs"),
        (
            "/interface/exterior/getCheckRecordList",
            http("200 OK", JSON, '{"msg":"no such tenant","code":500}'),
            "MIPS server",
        ),
    ],
)
def test_the_dialects_of_hfsecurity_are_told_apart(path: str, answer: str, what: str) -> None:
    finding = found({path: answer}, lan_api, heystar, mips, hf_ims)
    assert (finding.what, finding.adapter) == (what, "hfsecurity")


def test_a_path_that_is_not_there_is_no_dialect() -> None:
    paths = ["/cgi-bin/js/device/get", "/api/device/get", "/api/person/find"]
    assert found(dict.fromkeys(paths, NOT_FOUND), heystar, hf_ims).what == "HF-IMS, by its port"


def test_a_lan_api_that_answers_on_every_path_is_not_taken_for_heystar() -> None:
    failed = http("200 OK", JSON, '{"code":"LAN_EXP-1001","msg":"","result":1,"success":false}')
    assert found({"/cgi-bin/js/device/get": failed}, heystar).adapter is None


def test_a_middleware_is_known_by_its_port_where_it_speaks_http() -> None:
    assert found({"/": http("200 OK", "", "")}, hf_ims).adapter == "hfsecurity"


def test_what_needs_a_session_is_known_by_its_port() -> None:
    assert found({}, by_port("ZKTeco TCP", "zkteco_tcp")).adapter == "zkteco_tcp"


@pytest.mark.parametrize("answer", ["", "SSH-2.0-OpenSSH\r\n", http("200 OK", JSON, "{"), http("200 OK", JSON, "[1]")])
def test_an_open_port_that_speaks_something_else_is_shown_as_such(answer: str) -> None:
    answers = dict.fromkeys(["/getDeviceKey", "/ISAPI/System/deviceInfo", "/iclock/api/terminals/"], answer)
    finding = found(answers, lan_api, isapi, biotime)
    assert finding.adapter is None
    assert "no protocol that is known" in finding.what


def test_a_port_that_nobody_listens_at_is_left_out() -> None:
    async def scenario() -> list[Finding]:
        async with serving({}) as port:
            pass
        return await probe("127.0.0.1", [(port, (lan_api,))])

    assert asyncio.run(scenario()) == []
