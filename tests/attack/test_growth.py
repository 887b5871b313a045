"""Twice as much takes about twice as long to read, whatever it is: no step of any parser grows faster than that."""

import asyncio
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Final

import pytest
from pushing import Bench

from attendance.fleet import hash_token

SITE: Final = {"site": "riyadh", "timezone": "Asia/Riyadh"}
DEVICES: Final[list[dict[str, object]]] = [
    SITE | {"device_id": "GATE", "token_sha256": hash_token("growth-json")},
    SITE | {"device_id": "ADMS", "adapter": "zkteco_adms", "serial": "SN1"},
    SITE | {"device_id": "HIK", "adapter": "hikvision", "token_sha256": hash_token("growth-hik")},
    SITE | {"device_id": "HF", "adapter": "hfsecurity", "token_sha256": hash_token("growth-hf")},
]
ROUTES: Final[Mapping[str, str]] = {
    "json": "/v1/events",
    "hfsecurity": "/hf/growth-hf/record",
    "hikvision": "/hik/growth-hik",
    "ADMS, attendance": "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=1",
    "ADMS, operations": "/iclock/cdata?SN=SN1&table=OPERLOG&Stamp=1",
    "ADMS, a table": "/iclock/cdata?SN=SN1&table=tabledata&tablename=user",
    "ADMS, facts": "/iclock/registry?SN=SN1",
    "ADMS, results": "/iclock/devicecmd?SN=SN1",
    "ADMS, a query": "/iclock/querydata?SN=SN1&type=tabledata&tablename=transaction",
}


def filled(part: str, begin: str = "", end: str = "") -> Callable[[int], bytes]:
    """A body of so many bytes that is one part again and again, between a begin and an end."""
    return lambda size: f"{begin}{(part * (size // len(part) + 1))[:size]}{end}".encode()


def numbered(part: str, begin: str = "", end: str = "", between: str = ",") -> Callable[[int], bytes]:
    """A body whose parts have a number, each of them twice."""
    length = len(part.format(10_000)) + len(between)
    return lambda size: f"{begin}{between.join(part.format(each // 2) for each in range(size // length))}{end}".encode()


SHAPES: Final[Mapping[str, Callable[[int], bytes]]] = {
    "a name twice": numbered('"k{}":1', "{", "}"),
    "a name twice in an event": numbered('"k{}":1', '{"device_id":"GATE","events":[{', "}]}"),
    "a name twice in a form": numbered("k{}=1", between="&"),
    "attributes": numbered('b{}="1"', "<a ", "/>", " "),
    "events that are none": filled('{"user_id":"1","time":"x"},', '{"device_id":"GATE","events":[', "{}]}"),
    "quotes": filled('"', '{"a":', "}"),
    "backslashes": filled("\\", '{"a":"', '"}'),
    "escapes": filled("\\u00ff", '{"a":"', '"}'),
    "JSON in JSON": filled('{\\"b\\":', '{"a":"', '"}'),
    "commas": filled(", ", '{"a":[', "]}"),
    "pairs without names": filled(", ", "a=1", "x"),
    "spaces in a value": filled(" ", "a=1", "x"),
    "lists": filled("[1],", '{"a":[', "1]}"),
    "depth": filled('{"a":'),
    "documents": filled('{"a":1}'),
    "documents with zeros": filled('{"a":1}\0'),
    "zeros": filled("\0", "{"),
    "spaces": filled(" ", '{"a":1,', "x"),
    "base64": filled("QUJDREVG", '{"a":"', '"}'),
    "hex": filled("ff d8 ", '{"a":"', '"}'),
    "numbers": filled("255,", '{"a":[', "1]}"),
    "a number": filled("9", '{"a":', "}"),
    "floats": filled("0.12345,", '{"a":[', "1]}"),
    "elements": filled("<b>1</b>", "<a>", "</a>"),
    "depth of elements": filled("<b>"),
    "declarations": filled('<?xml version="1.0"?>'),
    "ampersands": filled("&", "<a>", "</a>"),
    "lines": filled("1\t2026-03-02 08:00:00\t0\t15\n"),
    "lines that are none": filled("x\n"),
    "tabs": filled("\t"),
    "carriage returns": filled("\r"),
    "pairs": filled("a=1\t"),
    "equals": filled("a="),
    "percents": filled("%", "a="),
    "semicolons": filled(";"),
    "words": filled("a "),
    "digits": filled("12,"),
    "letters": filled("a"),
    "addresses of data": filled("data:image/jpeg;base64,"),
    "boundaries": filled("--b\r\n"),
    "parts": filled('--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n', end="--b--"),
    "headers of a part": filled("A: b\r\n", "--b\r\n", "\r\n1\r\n--b--"),
    "a long name of a part": filled("a", '--b\r\nContent-Disposition: form-data; name="', '"\r\n\r\n1\r\n--b--'),
    "parameters of a part": filled("; a=b", "--b\r\nContent-Disposition: form-data", "\r\n\r\n1\r\n--b--"),
    "UTF-16": lambda size: f'{{"a":"{"z" * (size // 2)}"}}'.encode("utf-16"),
    "no UTF-8": lambda size: b'{"a":"' + b"\xc4\x5c" * (size // 2) + b'"}',
    "a photograph": lambda size: b"PIN=1\tSN=2\0" + b"\xff\xd8\xff" * (size // 3),
    "gzip": lambda size: gzip.compress(b"a" * size * 4),
    "heads of gzip": lambda size: b"\x1f\x8b\x08" * (size // 3),
}
TIMES: Final = 16
ROOM: Final = 4
"""For an uneven machine: what grows with the square takes 16 times that of what is linear."""


class Reader:
    """The push application, which is given requests."""

    def __init__(self, directory: Path) -> None:
        self._bench = Bench(directory, DEVICES)

    def seconds(self, route: str, shape: str, size: int) -> float:
        """What a request takes of the processor, at its best of two."""
        headers = {"X-Device-Token": "growth-json"}
        body = SHAPES[shape](size)
        if body.startswith(b"--b"):
            headers["Content-Type"] = "multipart/form-data; boundary=b"
        elif body.startswith((b"k", b"a=")):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif shape == "gzip":
            headers["Content-Encoding"] = "gzip"
        taken = []
        for _ in range(2):
            before = process_time()
            asyncio.run(self._bench.request("POST", ROUTES[route], content=body, headers=headers))
            taken.append(process_time() - before)
            self._bench.kafka.records.clear()
        return min(taken)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("growth"))


@pytest.mark.parametrize("size", [2_000, pytest.param(60_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("route", ROUTES)
def test_what_is_larger_takes_no_more_than_its_size_says(reader: Reader, route: str, size: int) -> None:
    reader.seconds(route, "letters", size)
    worst = {}
    for shape in SHAPES:
        few, many = (reader.seconds(route, shape, of) for of in (size, size * TIMES))
        # Below a few milliseconds, what every request takes hides what the body takes.
        worst[shape] = many / max(few, 0.004)
    too_much = {shape: grew for shape, grew in worst.items() if grew > TIMES * ROOM}
    assert not too_much
