"""The spellings of the paths of ADMS, through the application."""

import asyncio
from pathlib import Path

import httpx
import pytest
from pushing import Bench

LINE = b"417\t2026-03-02 08:00:02\t0\t15\t0\t0\t0"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ask(bench: Bench, method: str, path: str, body: bytes = b"") -> httpx.Response:
    return asyncio.run(bench.request(method, path, content=body))


@pytest.mark.parametrize(
    "path",
    [
        "/iclock/cdata?SN=SN1&table=ATTLOG",
        "/iclock/cdata?sn=SN1&table=ATTLOG",
        "/iclock/cdata?Sn=SN1&Table=attlog",
        "/iclock/cdata??SN=SN1&table=ATTLOG",
        "/iclock/cdata?SN=SN1?table=ATTLOG",
        "/iclock/cdata?SN=SN1;table=ATTLOG",
        "/iclock/cdata?SN=SN1%20&table=ATTLOG%20Stamp=9999",
        "/iclock/cdata?SN=SN1",
        "/iclock/cdata.aspx?SN=SN1&table=ATTLOG",
        "/iclock/CData.ASPX?SN=SN1&table=ATTLOG",
        "/iclock/cdata.php?SN=SN1&table=ATTLOG",
        "http://push//iclock/cdata?SN=SN1&table=ATTLOG",
        "/iclock//cdata.aspx/?SN=SN1&table=ATTLOG",
        "/iclock/cdata/?SN=SN1&table=ATTLOG",
        "/IClock/CDATA?SN=SN1&table=ATTLOG",
        "/iclock/fdata?SN=SN1&table=ATTLOG",
        "/iclock/fdata.aspx?SN=SN1&table=ATTLOG",
        "/iclock/edata?SN=SN1&table=ATTLOG",
        "/iclock/querydata.aspx?SN=SN1&type=ATTLOG",
    ],
)
def test_a_punch_is_taken_at_every_spelling_of_its_path(bench: Bench, path: str) -> None:
    response = ask(bench, "POST", path, LINE)
    assert (response.status_code, response.text) == (200, "OK: 1")
    assert [(event.device_id, event.device_user_id) for event in bench.kafka.events()] == [("ADMS-1", "417")]


@pytest.mark.parametrize(
    ("method", "path", "start"),
    [
        ("GET", "/iclock/cdata.aspx?SN=SN1&options=all", "GET OPTION FROM: SN1\n"),
        ("HEAD", "/iclock/cdata.aspx?SN=SN1&options=all", ""),
        ("POST", "/iclock/cdata?SN=SN1&options=all", "GET OPTION FROM: SN1\n"),
        ("POST", "/iclock/cdata?SN=SN1", "OK"),
        ("GET", "/iclock/cdata?SN=SN1&options=all&table=", "GET OPTION FROM: SN1\n"),
        ("GET", "/iclock/cdata?SN=SN1&AuthType=device", "OK"),
        ("GET", "/iclock/cdata?SN=SN1&table=RemoteAtt&PIN=417", "OK"),
        ("POST", "/iclock/getrequest?SN=SN1", "OK"),
        ("GET", "/iclock/getrequest.aspx?sn=SN1", "OK"),
        ("POST", "/iclock/ping?SN=SN1", "OK"),
        ("GET", "/iclock/devicecmd.aspx?SN=SN1", "OK"),
        ("GET", "/iclock/registry?SN=SN1", "RegistryCode="),
        ("POST", "/iclock/rtdata.aspx?SN=SN1&type=time", "DateTime="),
        ("GET", "/iclock/querydata?SN=SN1&type=count&tablename=transaction&count=5", "transaction=5"),
    ],
)
def test_a_question_is_answered_by_whichever_method_it_is_asked(
    bench: Bench, method: str, path: str, start: str
) -> None:
    response = ask(bench, method, path)
    assert response.status_code == 200
    assert response.text.startswith(start)


def test_a_call_that_the_protocol_does_not_have_is_kept_where_it_brings_something(bench: Bench) -> None:
    assert ask(bench, "GET", "/iclock/file?SN=SN1").status_code == 404
    assert bench.kafka.records == []
    assert ask(bench, "POST", "/iclock/newcall?SN=SN1", LINE).text == "OK"
    [letter] = bench.kafka.dead_letters()
    assert letter.reason == "unreadable_body"


def test_records_that_come_with_a_question_are_read(bench: Bench) -> None:
    assert ask(bench, "POST", "/iclock/getrequest?SN=SN1", LINE).text == "OK"
    assert [event.device_user_id for event in bench.kafka.events()] == ["417"]
    assert bench.kafka.dead_letters() == []
    assert ask(bench, "POST", "/iclock/ping?SN=SN1", b"hello").text == "OK"
    [letter] = bench.kafka.dead_letters()
    assert letter.unread is not None


def test_an_unknown_terminal_is_refused_and_waits_at_every_spelling(bench: Bench) -> None:
    for path in ("/iclock/cdata.aspx?sn=NEW", "/iclock/getrequest?SN=NEW"):
        assert ask(bench, "POST", path, LINE).status_code == 403
    assert ask(bench, "GET", "/iclock/registry.aspx?SN=NEW").status_code == 406
    assert {record.topic for record in bench.kafka.records} == {"t.terminals.v1"}
