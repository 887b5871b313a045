"""Structured logs, one form for all, secrets masked."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from attendance.logs import QuietClosures, Seldom, configure, mask_secrets
from attendance.shown import MASK


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`configure` is for a process; a test gives back what it found, beside what every test gives back."""
    noisy = {name: logging.getLogger(name).level for name in ("uvicorn.access", "httpx", "aiokafka", "kafka")}
    yield
    for name, its_level in noisy.items():
        logging.getLogger(name).setLevel(its_level)
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_log_line_is_one_json_object_with_the_sentence_and_what_varies(capsys: pytest.CaptureFixture[str]) -> None:
    configure(stage="push")
    structlog.get_logger("producers.push.server").info("A batch was taken.", events=3)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "A batch was taken.",
        "events": 3,
        "level": "info",
        "logger": "producers.push.server",
        "stage": "push",
    }


def test_a_library_logs_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure(stage="push")
    logging.getLogger("some.library").warning("%s is gone", "the broker", extra={"token": "t-1"})
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("the broker is gone", "warning", "some.library")
    assert (line["stage"], line["token"]) == ("push", MASK)


def test_an_exception_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        raise RuntimeError("no coffee")
    except RuntimeError:
        structlog.get_logger("test").exception("It failed.")
    (line,) = lines(capsys)
    assert "RuntimeError: no coffee" in line["exception"]


def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure("WARNING")
    structlog.get_logger("test").info("Nothing of note.")
    logging.getLogger("test").info("nothing of note")
    assert lines(capsys) == []


def test_libraries_that_report_every_request_are_heard_only_when_something_is_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("DEBUG")
    for name in ("uvicorn.access", "httpx", "aiokafka", "kafka"):
        logging.getLogger(name).info("GET /")
        logging.getLogger(name).warning("slow")
    assert [line["event"] for line in lines(capsys)] == ["slow"] * 4


def test_configuring_again_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(stage="push")
    configure(stage="stream")
    structlog.get_logger("test").info("Once.")
    (line,) = lines(capsys)
    assert line["stage"] == "stream"


def test_text_is_for_reading_and_has_no_colours_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    configure(style="text")
    assert not sys.stderr.isatty()
    structlog.get_logger("test").info("A batch was taken.", token="t-1", events=3)
    text = capsys.readouterr().err
    assert "A batch was taken." in text
    assert "events=3" in text
    assert "\x1b" not in text
    assert "t-1" not in text


@pytest.mark.parametrize(
    "name", ["token", "X-Device-Token", "api_secret", "sasl_plain_password", "api_key", "Authorization", "credentials"]
)
def test_the_value_of_a_key_that_names_a_secret_is_masked(name: str) -> None:
    assert mask_secrets(None, "info", {"event": "Started.", name: "hunter2"}) == {"event": "Started.", name: MASK}


def test_a_secret_is_masked_at_any_depth() -> None:
    event = {"device": {"id": "riyadh-01", "headers": [{"X-Device-Token": "t-1"}, ("a", {"password": "p"})]}}
    assert mask_secrets(None, "info", event) == {
        "device": {"id": "riyadh-01", "headers": [{"X-Device-Token": MASK}, ["a", {"password": MASK}]]}
    }


def test_every_one_of_several_secrets_is_masked() -> None:
    assert mask_secrets(None, "info", {"tokens": ["one", "two"]}) == {"tokens": [MASK, MASK]}


def test_that_there_is_no_secret_is_no_secret() -> None:
    assert mask_secrets(None, "info", {"token": None, "password": ""}) == {"token": None, "password": ""}


def test_other_keys_are_left_alone() -> None:
    event = {"event": "Started.", "key": b"riyadh-01", "devices": 3, "offsets": [1, 2]}
    assert mask_secrets(None, "info", event) == event


def test_what_the_kafka_client_repeats_is_logged_once_in_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    client = logging.getLogger("aiokafka.consumer.fetcher")
    for node in (1, 2, 3):
        client.error("Failed fetch messages from %s", node)
    client.error("Another trouble")
    later = client.makeRecord(client.name, logging.ERROR, "", 0, "Failed fetch messages from %s", (4,), None)
    later.created += 10.1
    client.handle(later)
    logging.getLogger("producers.push.server").error("Ours")
    logging.getLogger("producers.push.server").error("Ours")

    assert [line["event"] for line in lines(capsys)] == [
        "Failed fetch messages from 1",
        "Another trouble",
        "Failed fetch messages from 4",
        "Ours",
        "Ours",
    ]


def test_a_connection_that_a_broker_closed_is_no_alarm_unless_it_closes_each_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    fetcher, client = logging.getLogger("aiokafka.consumer.fetcher"), logging.getLogger("aiokafka")
    fetcher.error("Failed fetch messages from %s: %s", 1, "KafkaConnectionError: Connection at kafka:9093 closed")
    client.error("Unable to update metadata from %s", [1])
    client.error("Unable connect to node with id %s: %s", 1, "[Errno 111] Connect call failed")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == [
        "Unable connect to node with id 1: [Errno 111] Connect call failed"
    ]
    for _ in range(QuietClosures.MANY):
        fetcher.error("Failed fetch messages from %s: %s", 1, "KafkaConnectionError: Connection at kafka:9093 closed")
    assert "Connection at kafka:9093 closed" in capsys.readouterr().err


def test_no_text_of_others_moves_the_terminal_or_writes_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure(style="text")
    text = "7\x1b[2J\u202e\n2026-01-01 [info] Balanced."
    structlog.get_logger("test").warning("Unknown.", user=text, users={text: [text]}, error=ValueError(text))
    logging.getLogger("some.library").warning("%s", text)
    captured = capsys.readouterr().err
    assert len(captured.splitlines()) == 2
    assert not set("\x1b\u202e") & set(captured)
    assert captured.count("7\\x1b[2J\\u202e\\n2026") == 5


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_address_shows_its_password(style: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure(style=style)
    structlog.get_logger("test").warning("Cannot reach http://api:pa55@erp", error=OSError("http://api:pa55@erp"))
    try:
        raise RuntimeError("http://api:pa55@erp")
    except RuntimeError:
        structlog.get_logger("test").exception("It failed.", url="http://erp/x?token=pa55")
    captured = capsys.readouterr().err
    assert "pa55" not in captured
    assert captured.count(MASK) == 5


def test_a_cause_is_logged_once_a_minute_with_what_was_left_out() -> None:
    moment, lines = [0.0], list[dict[str, Any]]()
    seldom = Seldom(seconds=60, most=2, clock=lambda: moment[0])

    def write(sentence: str, **keys: Any) -> None:
        lines.append({"event": sentence, **keys})

    for number in range(1000):
        seldom.say("full", write, "Closed.", client=number)
    seldom.say("slow", write, "Late.")
    assert lines == [{"event": "Closed.", "client": 0}, {"event": "Late."}]
    moment[0] = 59.0
    seldom.flush()
    assert len(lines) == 2
    moment[0] = 60.0
    seldom.flush()
    assert lines[2:] == [{"event": "Closed.", "client": 999, "left_out": 999}]
    moment[0] = 119.0
    seldom.say("full", write, "Closed.", client=1000)
    assert len(lines) == 3
    moment[0] = 200.0
    seldom.say("other", write, "Else.")
    assert lines[3:] == [{"event": "Closed.", "client": 1000, "left_out": 1}, {"event": "Else."}]


def test_what_is_left_out_keeps_nothing_of_an_error() -> None:
    moment, lines = [0.0], list[dict[str, Any]]()
    seldom = Seldom(clock=lambda: moment[0])
    for _ in range(2):
        seldom.say("failed", lambda _, **keys: lines.append(keys), "It failed.", exc_info=ValueError())
    moment[0] = 60.0
    seldom.flush()
    assert [sorted(each) for each in lines] == [["exc_info"], ["left_out"]]


def test_causes_that_somebody_makes_up_are_one() -> None:
    lines = list[str]()
    seldom = Seldom(most=10, clock=lambda: 0.0)
    for number in range(1000):
        seldom.say(number, lambda sentence, **_: lines.append(sentence), f"Line {number}.")
    assert len(lines) == 11
