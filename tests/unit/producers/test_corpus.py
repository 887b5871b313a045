"""Real-looking requests, records and files, as they are and damaged: nothing is lost, and nothing private spread.

A file of `tests/corpus` is named after what it is and what must come of it: `events`, `others` and `letters`, or the
`status` of a request that is refused; a file that is refused as a whole is `unreadable`. `push` has requests as they
stand on the wire, `pull` records as a pull adapter reads them again, `file` files.
"""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest
from pushing import TOPICS, Bench, FakeProducer

from attendance.errors import InvalidRecord, Reason, UnreadableFile
from attendance.fleet import Device, hash_token
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent
from attendance.records.unread import joined
from producers.devices import ADAPTERS, create_file_adapter, create_pull_adapter
from producers.devices.contract import Fetch, Rejected, Tools
from producers.intake import Intake, Place
from producers.publisher import Publisher

CORPUS: Final = Path(__file__).parents[2] / "corpus"
AT: Final = datetime(2026, 3, 2, 5, 0, 3, tzinfo=UTC)
NAME: Final = b"Zahra"
NUMBER: Final = b"210218199105072345"
PICTURE: Final = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + Random(16).randbytes(600) + b"\xff\xd9"
ENCODED: Final = base64.b64encode(PICTURE)
PART_OF_A_PICTURE: Final = 160
DAMAGES: Final = 5

ENTRY: Final = {"site": "HQ", "timezone": "Asia/Riyadh"}
PUSHED: Final = [
    ENTRY | {"device_id": "GATE", "token_sha256": hash_token("corpus-token-json")},
    ENTRY | {"device_id": "ADMS", "adapter": "zkteco_adms", "serial": "CORPUS1"},
    ENTRY | {"device_id": "HIK", "adapter": "hikvision", "token_sha256": hash_token("corpus-token-hikvision")},
    ENTRY
    | {
        "device_id": "X05",
        "adapter": "hfsecurity",
        "serial": "00aa11bb22cc33dd44",
        "token_sha256": hash_token("corpus-token-hfsecurity"),
    },
]
TOOLS: Final = Tools(httpx.AsyncClient(), lambda *_: "", ())
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sql": {"query": "SELECT 1 AS user_id, 1 AS time, 1 AS sequence WHERE sequence > :cursor", "read_database": True},
    "rest": {"path": "/", "query": {"since": "{from}"}, "fields": {"user": "user", "time": "time"}},
}


def files(way: str) -> list[Path]:
    return sorted(path for path in (CORPUS / way).rglob("*.*") if path.is_file())


def expected(path: Path) -> dict[str, int]:
    return {name: int(count) for name, _, count in (part.partition("=") for part in path.name.split(".")) if count}


def case(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def outcome(kafka: FakeProducer) -> dict[str, int]:
    """What is on the topics, but for what is kept beside a letter."""
    names = {TOPICS["raw"]: "events", TOPICS["other_events"]: "others", TOPICS["dead_letters"]: "letters"}
    return dict(Counter(names[record.topic] for record in kafka.records if record.topic in names))


def check_whole_and_private(kafka: FakeProducer, *, of_a_request: bool = False, is_damaged: bool = False) -> None:
    """Nothing private is where it may not be, and whatever was not understood can be read again.

    A damaged name of a field may make a name of a person the value of another one.
    """
    letters = kafka.dead_letters()
    assert not [letter.message for letter in letters if letter.reason is Reason.INTERNAL_ERROR]
    assert {letter.unread for letter in letters} == {each.unread_id for each in kafka.unread()}
    if of_a_request and letters:
        assert joined(kafka.unread())
    for record in kafka.records:
        content = b"\n".join([record.key or b"", record.value or b"", *(value for _, value in record.headers)])
        if record.topic == TOPICS["unread"]:
            [unread] = [each for each in kafka.unread() if each.encode() == record.value]
            content = unread.body + unread.query.encode() + repr(unread.headers).encode()
        elif record.topic == TOPICS["dead_letters"] or not is_damaged:
            assert NAME not in content
            assert NUMBER not in content
        assert b"corpus-token-" not in content
        for picture in (PICTURE, ENCODED, PICTURE.hex().encode()):
            assert not any(
                picture[start : start + PART_OF_A_PICTURE] in content
                for start in range(0, len(picture) - PART_OF_A_PICTURE, 40)
            )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("fleet"), PUSHED)


def request(bench: Bench, head: bytes, body: bytes) -> httpx.Response:
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = dict(each.split(": ", 1) for each in lines)
    bench.kafka.records.clear()
    return asyncio.run(bench.request(method, target, content=body, headers=headers))


def damaged(body: bytes, seed: str) -> Iterator[bytes]:
    """The body cut, doubled, in another encoding, and with bytes that are wrong."""
    random = Random(seed)
    yield body[: len(body) // 2]
    yield body[len(body) // 3 :]
    yield body + body
    yield body.replace(b"\r\n", b"\n").replace(b'"', b"'")
    yield body.decode("latin-1").encode("utf-16")
    for _ in range(DAMAGES):
        wrong = bytearray(body)
        for _ in range(random.randint(1, 3)):
            if wrong:
                wrong[random.randrange(len(wrong))] = random.choice(b'\0\t\n,"\\%=&<>[]{}-\xff9')
        yield bytes(wrong)


@pytest.mark.parametrize("path", files("push"), ids=case)
def test_a_request_comes_to_what_it_should(bench: Bench, path: Path) -> None:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    answer = request(bench, head, body)
    wanted = expected(path)
    assert outcome(bench.kafka) == {name: count for name, count in wanted.items() if name != "status"}
    assert answer.status_code == wanted.get("status", 200)
    check_whole_and_private(bench.kafka, of_a_request=True)


@pytest.mark.parametrize("path", files("push"), ids=case)
def test_a_damaged_request_is_understood_or_kept_or_not_acknowledged(bench: Bench, path: Path) -> None:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    for wrong in damaged(body, path.name):
        answer = request(bench, head, wrong)
        assert answer.status_code != 500
        check_whole_and_private(bench.kafka, of_a_request=True, is_damaged=True)
        if answer.status_code >= 400:
            assert not bench.kafka.events()


def publish(stage: str, found: Any, device: Device, adapter: Any) -> FakeProducer:
    kafka = FakeProducer()
    publisher = Publisher(kafka, TOPICS, Metrics(), 10**9)  # type: ignore[arg-type]
    records = Intake(stage).to_records(found, device, adapter, AT, lambda each: Place(f"line {each.index}", "x"))
    asyncio.run(publisher.publish(*records))
    return kafka


def pull(name: str, raw: bytes) -> FakeProducer:
    adapter = create_pull_adapter(name, TOOLS)
    fields = {"device_id": "PULLED", "mode": "pull", "adapter": name, "host": "192.0.2.4"}
    device = Device.model_validate(ENTRY | fields | {"options": dict(OPTIONS.get(name, {}))})
    try:
        page = adapter.read_again(raw, Fetch(device, {}, None, None, AT))
    except InvalidRecord:
        return FakeProducer()  # today's page would have no such record
    return publish("pull", page, device, adapter)


@pytest.mark.parametrize("path", files("pull"), ids=case)
def test_a_record_comes_to_what_it_should(path: Path) -> None:
    kafka = pull(path.parent.name, path.read_bytes())
    assert outcome(kafka) == expected(path)
    check_whole_and_private(kafka)


@pytest.mark.parametrize("path", files("pull"), ids=case)
def test_a_damaged_record_is_understood_or_kept(path: Path) -> None:
    for wrong in damaged(path.read_bytes(), path.name):
        check_whole_and_private(pull(path.parent.name, wrong), is_damaged=True)


class _Batch:
    def __init__(self, found: list[Any]) -> None:
        self.events = [each for each in found if isinstance(each, RawEvent)]
        self.rejected = [each for each in found if isinstance(each, Rejected)]
        self.others: list[Any] = []
        self.report = None


def read_file(name: str, path: Path) -> FakeProducer:
    adapter = create_file_adapter(name, ())
    device = Device.model_validate(ENTRY | {"device_id": "FILES", "mode": "file", "adapter": name})
    return publish("import", _Batch([row.outcome for row in adapter.rows(path, device, {})]), device, adapter)


@pytest.mark.parametrize("path", files("file"), ids=case)
def test_a_file_comes_to_what_it_should(path: Path) -> None:
    if ".unreadable." in path.name:
        with pytest.raises(UnreadableFile):
            read_file(path.parent.name, path)
        return
    kafka = read_file(path.parent.name, path)
    assert outcome(kafka) == expected(path)
    check_whole_and_private(kafka)


@pytest.mark.parametrize("path", files("file"), ids=case)
def test_a_damaged_file_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    for number, wrong in enumerate(damaged(path.read_bytes(), path.name)):
        copy = tmp_path / f"{number}{path.suffix}"
        copy.write_bytes(wrong)
        try:
            kafka = read_file(path.parent.name, copy)
        except UnreadableFile:
            continue
        check_whole_and_private(kafka, is_damaged=True)


def test_every_adapter_has_its_folder() -> None:
    for way, adapters in ADAPTERS.items():
        assert {path.name for path in (CORPUS / way).iterdir()} == set(adapters)
