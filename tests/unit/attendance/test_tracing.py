"""Spans of what is traced go from stage to stage in a header. Without tracing nothing is changed."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.trace import StatusCode
from span_collector import SpanCollector
from traces import Traces, ids, parent

from attendance import tracing as tracing_module
from attendance.errors import ConfigurationError
from attendance.kafka.records import OutRecord
from attendance.open_telemetry import TRACEPARENT
from attendance.tracing import OFF, open_tracing

OUT = OutRecord("t.raw.v1", b"D1", b"{}", [("ce_id", b"1")])


@dataclass
class Record:
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "t.raw.v1"
    partition: int = 2
    offset: int = 7
    timestamp: int = 0
    key: bytes | None = b"D1"
    value: bytes | None = b"{}"


def traceparents(record: OutRecord) -> list[bytes]:
    return [data for name, data in record.headers if name == TRACEPARENT]


def test_without_a_collector_nothing_is_traced_and_no_record_changes() -> None:
    assert open_tracing("push") is OFF
    record = Record([(TRACEPARENT, b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")])

    with OFF.taken_in("push", adapter="json"), OFF.published([OUT]) as published:
        assert published == [OUT]
    with OFF.carried("decide", [(record, OUT)]) as carried, OFF.asked("erpnext", [record]):
        assert carried == [OUT]


def test_what_a_request_brought_is_one_trace_through_all_stages() -> None:
    traces = Traces()
    tracing = traces.tracing

    with tracing.taken_in("push", adapter="json"), tracing.published([OUT]) as raw:
        pass
    with tracing.carried("decide", [(Record(raw[0].headers), OUT)]) as checkins:
        pass
    checkin = Record(checkins[0].headers)
    with tracing.asked("erpnext", [checkin]):
        pass
    with tracing.carried("deliver", [(checkin, OUT)]) as deliveries:
        pass

    names = ("push", "publish", "decide", "erpnext", "deliver")
    push, publish, decide, erpnext, deliver = (span for name in names for span in traces.spans[name])
    assert parent(push) is None
    assert parent(publish) == ids(push)
    assert parent(decide) == ids(publish)
    assert parent(erpnext) == parent(deliver) == ids(decide)
    assert traceparents(deliveries[0]) == [b"00-%032x-%016x-01" % ids(deliver)]
    assert decide.attributes is not None
    assert dict(decide.attributes) == {
        "messaging.system": "kafka",
        "messaging.destination.name": "t.raw.v1",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": 7,
        "punchstream.outcome.topic": "t.raw.v1",
    }


def test_a_record_has_one_context_before_its_other_headers() -> None:
    # What marks a copy of a punch is the last header: nothing may come behind it.
    traces = Traces()
    with traces.tracing.published([OUT]) as raw:
        pass
    letter = OUT._replace(headers=[*raw[0].headers, ("x", b"copy")])

    with traces.tracing.carried("decide", [(Record(raw[0].headers), letter)]) as outcomes:
        pass

    assert [name for name, _ in outcomes[0].headers] == [TRACEPARENT, "ce_id", "x"]
    assert traceparents(outcomes[0]) != traceparents(raw[0])


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"garbage",
        b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00",
        b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01",
        b"00-" + b"a" * 32 + b"-" + b"0" * 16 + b"-01",
        b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\n",
        b"\xff" * 55,
    ],
)
def test_a_record_without_the_context_of_a_trace_is_left_as_it_is(header: bytes | None) -> None:
    traces = Traces()
    record = Record([] if header is None else [(TRACEPARENT, header)])

    with traces.tracing.carried("decide", [(record, OUT)]) as outcomes, traces.tracing.asked("erpnext", [record]):
        assert outcomes == [OUT]

    assert traces.spans == {}


def test_a_request_that_is_not_traced_costs_the_other_stages_nothing() -> None:
    traces = Traces(ratio=0)

    with traces.tracing.taken_in("push"), traces.tracing.published([OUT]) as raw:
        assert raw == [OUT]

    assert traces.spans == {}


def test_so_large_a_share_of_requests_is_traced_as_was_asked_for() -> None:
    traces = Traces(ratio=0.25)

    for _ in range(4_000):
        with traces.tracing.taken_in("push"), traces.tracing.published([OUT]):
            pass
        with traces.tracing.published([OUT]):
            pass

    # Beyond seven standard deviations.
    requests, published = len(traces.spans["push"]), len(traces.spans["publish"])
    assert abs(requests - 1_000) < 200
    assert abs(published - requests - 1_000) < 200, "a page that is pulled is drawn for itself, a request once"


def test_a_span_that_fails_says_what_failed_and_not_what_a_punch_says() -> None:
    traces = Traces()

    with pytest.raises(ValueError, match="1007"), traces.tracing.taken_in("push"), traces.tracing.published([OUT]):
        raise ValueError("no employee has the number 1007")

    for name in ("push", "publish"):
        (span,) = traces.spans[name]
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
        assert not span.events


def test_a_span_begins_with_its_record_and_never_after_its_end() -> None:
    traces = Traces()
    with traces.tracing.published([OUT]) as raw:
        pass
    now = time.time_ns()
    early, late = now // 1_000_000 - 5_000, now // 1_000_000 + 60_000

    for timestamp in (early, late):
        with traces.tracing.carried("decide", [(Record(raw[0].headers, timestamp=timestamp), OUT)]):
            pass

    waited, ahead = traces.spans["decide"]
    assert waited.start_time == early * 1_000_000
    assert ahead.start_time is not None
    assert ahead.end_time is not None
    assert now <= ahead.start_time <= ahead.end_time


def test_a_process_sends_its_spans_before_it_ends() -> None:
    with SpanCollector() as collector:
        subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=environment(collector.url))

    (span,) = collector.spans
    assert (span.service, span.name) == ("punchstream-push", "push")
    assert not {"host.name", "process.command_args"} & span.resource.keys()


def test_a_collector_that_is_away_holds_up_nothing_but_the_end() -> None:
    # Port 9 of this machine is closed: what is not taken within the SDK's own limit is dropped.
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=environment("http://127.0.0.1:9/"), timeout=60)


PROGRAM = """
import time
from attendance.tracing import open_tracing
tracing = open_tracing("push")
began = time.monotonic()
with tracing.taken_in("push"):
    pass
assert time.monotonic() - began < 5
"""


def environment(url: str) -> dict[str, str]:
    root = Path(tracing_module.__file__).parents[1]
    return {"TRACING_URL": url, "TRACING_RATIO": "1", "PYTHONPATH": str(root), "NO_PROXY": "*"}


def test_without_the_extra_it_is_said_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACING_URL", "http://127.0.0.1:4318/v1/traces")
    monkeypatch.setitem(sys.modules, "attendance.open_telemetry", None)

    with pytest.raises(ConfigurationError, match=r"TRACING_URL: .* the extra punchstream\[tracing\]"):
        open_tracing("push")
