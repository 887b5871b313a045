"""A request that is traced is a trace of its own, whatever it says of itself."""

from pathlib import Path

from opentelemetry.trace import StatusCode
from pushing import PUNCH, TOPICS, Bench, batch
from traces import Traces, ids, parent

FOREIGN = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def test_what_a_request_brings_carries_its_trace_and_none_that_the_sender_made_up(tmp_path: Path) -> None:
    traces = Traces()
    bench = Bench(tmp_path, tracing=traces.tracing)

    assert bench.post(batch(PUNCH), traceparent=FOREIGN)[0] == 200

    (push,), (publish,) = traces.spans["push"], traces.spans["publish"]
    assert parent(push) is None
    assert parent(publish) == ids(push)
    assert push.attributes is not None
    assert dict(push.attributes) == {"punchstream.adapter": "json", "punchstream.route": "/v1/events"}
    (raw,) = [record for record in bench.kafka.records if record.topic == TOPICS["raw"]]
    assert dict(raw.headers)["traceparent"] == b"00-%032x-%016x-01" % ids(publish)


def test_a_request_that_is_refused_is_a_trace_that_failed(tmp_path: Path) -> None:
    traces = Traces()
    bench = Bench(tmp_path, tracing=traces.tracing)

    assert bench.post(b"no JSON", token="wrong")[0] == 401

    (push,) = traces.spans["push"]
    assert push.status.status_code is StatusCode.ERROR
    assert "wrong" not in (push.status.description or "")
