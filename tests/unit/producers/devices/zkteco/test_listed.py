"""Of a line that is known, only listed fields are kept, in the request and in the letter, and it is read as it was."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.logs import Seldom
from attendance.records.unread import UnreadRequest
from producers.devices.common.bodies import read_query
from producers.devices.contract import Head, PushRequest, Sender
from producers.devices.zkteco.adms import ZktecoAdms
from producers.push.unread import Came, unread_request
from producers.unread import ready, request_of

NOW: Final = datetime(2026, 11, 28, 19, 30, tzinfo=UTC)
DEVICE: Final = Device.model_validate(
    {"device_id": "D", "site": "s", "timezone": "Asia/Riyadh", "adapter": "zkteco_adms", "serial": "SN1"}
)
PRINT: Final = b"\x46\x4d\x52\x00" + Random(18).randbytes(896)
HIDDEN: Final = (
    "Yasmin Zuleikha",
    "hunter2-4711",
    "784-1984-1234567-1",
    "784198412345671",
    PRINT[:24].hex(),
    PRINT[:24].hex(":"),
    str(list(PRINT[:20])),
    '{"p": "Yasmin Zuleikha"}',
)
TIME: Final = "2026-11-28 08:00:02"
RECORD: Final = f"time={TIME}\tpin=9208\tcardno=0\teventaddr=1\tevent=0\tinoutstatus=1\tverifytype=4\tindex=77"

LINES: Final[Mapping[str, Callable[[str], str]]] = {
    "cells": lambda h: f"417\t{TIME}\t0\t15\t0\t{h}\t{h}\t{h}\t{h}\t{h}",
    "as many cells as there are": lambda h: f"417\t{TIME}\t0\t15\t0\t{h}\t{h}\t{h}\t1",
    "cells, nobody": lambda h: f"\t{TIME}\t0\t15\t0\t{h}\t{h}\t{h}\t{h}\t{h}",
    "a stranger": lambda h: f"0\t{TIME}\t0\t15\t0\t{h}\t{h}\t{h}\t1",
    "zeros left out": lambda h: f"417\t2026-11-28 8:0:2\t0\t15\t0\t{h}\t{h}",
    "an offset": lambda h: f"417\t{TIME}+05:00\t0\t15\t0\t{h}\t{h}",
    "no time": lambda h: f"417\t1 o'clock\t0\t15\t0\t{h}\t{h}",
    "spaces": lambda h: f"417 {TIME} 0 15 0 {h}",
    "half of the day": lambda h: f"417 {TIME} PM 0 15 0 {h}",
    "commas": lambda h: f"417,{TIME},0,15,0,{h}",
    "something before the first sign": lambda h: f"417 {TIME} {h};0;15",
    "pairs": lambda h: f"PIN=417\tDateTime={TIME}\tStatus=0\tVerify=15\tName={h}\tzz={h}\tIDNum={h}\tType={h}",
    "pairs and commas": lambda h: f"ATTLOG PIN = 417,Time={TIME},Status=0,zz={h}",
    "pairs, nobody": lambda h: f"PIN=\tDateTime={TIME}\tStatus=0\tzz={h}\t{h}\t{h}=1",
    "pairs, a name twice": lambda h: f"PIN=417\tDateTime={TIME}\tzz={h}\tzz=1",
    "pairs without a time": lambda h: f"PIN=417\tName={h}\tPasswd={h}\tzz={h}",
    "a record": lambda h: f"{RECORD}\tzz={h}\tname={h}",
    "a record of a card": lambda h: f"{RECORD}\tzz={h}".replace("cardno=0", "cardno=1A2B3C"),
    "a record of no event": lambda h: f"{RECORD}\tzz={h}".replace("event=0", "event=x"),
    "a user": lambda h: f"USER PIN=417\tName={h}\tPri=0\tPasswd={h}\tCard={h}",
    "a template": lambda h: f"FP PIN=417\tFID=1\tSize=900\tValid=1\tTMP={h}",
    "an operation": lambda h: f"OPLOG 4\t0\t{TIME}\t{h}\t{h}",
    "a letter and nothing else": lambda h: f"x={h}",
}
BAD: Final[Mapping[str, Callable[[str], str]]] = {
    "a user and no time": lambda h: f"u417\tnothing\t{h}\t{h}",
    "a time of no form": lambda h: f"417 on {TIME} {h}",
}
OF_NO_TABLE: Final = frozenset({"cells, nobody", "no time", "pairs without a time", "a letter and nothing else"})
"""Lines that no reader knows where no table says what they are: they are kept as they came."""
TABLES: Final = ("ATTLOG", "rtlog", "OPERLOG", "")


def request(table: str, body: bytes, more: str = "") -> PushRequest:
    query = f"SN=SN1&table={table}&Stamp=7{more}"
    return PushRequest(Head("POST", "/iclock/cdata", {}, read_query(query), {}), body, NOW)


def kept(table: str, body: bytes, more: str = "") -> UnreadRequest:
    """The request as Kafka has it."""
    query = f"SN=SN1&table={table}&Stamp=7{more}"
    came = Came("/iclock/cdata", query, request(table, body, more), Sender(None, "SN1"), {"D": DEVICE})
    why = InvalidRecord(Reason.INVALID_EVENT, "why")
    return ready(unread_request(ADAPTER, came, DEVICE, why, Seldom()))


def outcome(asked: PushRequest) -> object:
    try:
        found = ADAPTER.parse(asked, {"D": DEVICE})
    except InvalidRecord as error:
        return error.reason
    return (
        [(each.event_id, each.sequence, dict(each.payload)) for each in found.events],
        [(each.index, each.reason, each.message, each.value) for each in found.rejected],
        [(each.kind, each.value) for each in found.others],
        found.answer.body,
    )


def letters(asked: PushRequest) -> bytes:
    try:
        found = ADAPTER.parse(asked, {"D": DEVICE})
    except InvalidRecord:
        return b""
    return b"\n".join(
        [*(each.value + each.message.encode() for each in found.rejected), *(e.value for e in found.others)]
    )


ADAPTER: Final = ZktecoAdms(())


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("table", TABLES)
def test_nothing_beside_the_list_is_kept_of_a_line(table: str, name: str, hidden: str) -> None:
    line = LINES[name](hidden)
    if table == "" and name in OF_NO_TABLE:
        return
    whole = "\r\n".join([f"417\t{TIME}\t0\t15", line, "x"]).encode()
    found = kept(table, whole)
    assert hidden.encode() not in found.body
    assert b"Yasmin" not in found.body
    assert hidden.encode() not in letters(request(table, whole))
    assert outcome(request_of(found)) == outcome(request(table, whole))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("table", ["ATTLOG", "rtlog"])
def test_of_a_line_of_no_form_what_can_be_a_user_or_a_time_is_kept(table: str, name: str, hidden: str) -> None:
    whole = BAD[name](hidden).encode()
    found = kept(table, whole)
    assert hidden.encode() not in found.body
    assert hidden.encode() not in letters(request(table, whole))
    assert b"417" in found.body
    assert TIME.encode() in found.body or name != "a time of no form"
    assert outcome(request_of(found)) == outcome(request(table, whole))


CELLS: Final = st.sampled_from(
    (
        *("417", "000418", "0", "", " 7 ", "u1", "PIN=417", "pin=", "USER", "OPLOG 4", "USER PIN=4", "x", "36.4", "1"),
        *(TIME, "2026-11-28", "08:00:02", "2026-11-28 8:0:2", f"Time={TIME}", f"DateTime={TIME}", "1795852800", "PM"),
        *("event=0", "event=27", f"time={TIME}", "cardno=5", "index=3", "zz=1", "zz=2", "Type=1", "sensor=1"),
        *("210218199105072345", "A1B2C3", "255", "9" * 300, "~Foo=1", "time_second=1000", "name twice"),
    )
)


@given(
    lines=st.lists(st.lists(CELLS, min_size=1, max_size=11), min_size=1, max_size=3),
    sign=st.sampled_from(("\t", " ", ",", ";", "|", "&", "\t\t")),
    table=st.sampled_from((*TABLES, "USERINFO", "options", "NEWLOG")),
)
def test_whatever_a_terminal_writes_is_read_again_as_what_it_was(
    *, lines: list[list[str]], sign: str, table: str
) -> None:
    whole = "\n".join(sign.join(cells) for cells in lines).encode()
    found = ADAPTER.kept_request(request(table, whole).head, whole, "")
    if found is not None:
        assert as_told(outcome(request(table, found.body))) == as_told(outcome(request(table, whole)))


def as_told(found: object) -> object:
    """Without what a letter holds: a line that was left out of it once may be shorter the next time."""
    if not isinstance(found, tuple):
        return found
    events, rejected, others, answer = found
    return events, [each[:3] for each in rejected], others, answer


@pytest.mark.parametrize(
    "body",
    [f"UserID=417\tTime={TIME}\tStatus=0".encode(), f"417\t{TIME}\t0\t15\r\n417\t{TIME}\t0\t15\t0\r\n".encode()],
)
def test_what_may_be_a_punch_of_somebody_who_is_named_otherwise_and_what_is_all_listed_is_kept_as_it_came(
    body: bytes,
) -> None:
    assert kept("ATTLOG", body).body == body


def test_of_a_table_that_is_not_known_nothing_is_left_out() -> None:
    body = f"417\t{TIME}\t0\tnorth gate".encode()
    found = kept("NEWLOG", body, "&gate=north")
    assert (found.body, found.query) == (body, "SN=SN1&table=NEWLOG&Stamp=7&gate=north")


def test_a_card_is_kept_where_it_alone_says_who_came() -> None:
    card = RECORD.replace("cardno=0", "cardno=1A2B")
    assert b"cardno=\t" in kept("rtlog", card.encode()).body
    assert b"cardno=1A2B\t" in kept("rtlog", card.replace("pin=9208", "pin=0").encode()).body


def test_a_time_under_another_name_is_kept_where_no_known_one_says_it() -> None:
    body = f"PIN=417\tat={TIME}\tbirth=1990-01-01\tzz=Yasmin".encode()
    assert kept("ATTLOG", body).body == f"PIN=417\tat={TIME}\tbirth=\tzz=".encode()


def test_of_a_query_what_the_protocol_has_is_kept() -> None:
    found = kept("ATTLOG", b"\t" + TIME.encode(), "&Name=Yasmin&opstamp=9;Name=Yasmin&a b=1&options=all")
    assert found.query == "SN=SN1&table=ATTLOG&Stamp=7&Name=&opstamp=9&field=&options=all"
    assert found.removed == ("3 values of fields that are not on the list of zkteco_adms",)


def test_the_letter_of_a_line_holds_its_listed_fields_alone() -> None:
    [rejected] = ADAPTER.parse(
        request("ATTLOG", f"\t{TIME}\t0\t15\t0\t0\t0\t784198412345671\t1\tYasmin".encode()), {"D": DEVICE}
    ).rejected
    assert orjson.loads(rejected.value) == ["", TIME, "0", "15", "0", None, None, "0" * 15, "1", None]
    [rejected] = ADAPTER.parse(request("ATTLOG", f"PIN=\tTime={TIME}\tzz=Yasmin".encode()), {"D": DEVICE}).rejected
    assert orjson.loads(rejected.value) == {"pin": "", "time": TIME}


@pytest.mark.parametrize(
    "pattern", [b"x ", b"1,", b"a\t", b"a b=", b"=", b"PIN=1\tx=2\t", b"1\t2026-01-01 08:00:00\tx\n"]
)
def test_twice_the_size_takes_no_more_than_about_twice_the_time(pattern: bytes) -> None:
    def seconds(size: int) -> float:
        body, before = pattern * (size // len(pattern)), time.process_time()
        ADAPTER.kept_request(request("ATTLOG", body).head, body, "")
        return time.process_time() - before

    # What takes the square of its size takes four times as long, each time; a machine that is busy does so once.
    smaller = larger = float("inf")
    for _ in range(5):
        smaller, larger = min(smaller, seconds(200_000)), min(larger, seconds(400_000))
        if larger < 3 * smaller + 0.05:
            return
    pytest.fail(f"{smaller:.2f} s, and {larger:.2f} s for twice the size")
