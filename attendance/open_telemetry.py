"""Tracing by OpenTelemetry's SDK, which the extra `tracing` brings."""

import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import Final, NamedTuple, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from attendance.kafka.records import Headers, OutRecord, Record
from attendance.tracing import Tracing

TRACEPARENT: Final = "traceparent"
MILLISECOND: Final = 1_000_000  # in nanoseconds
_SAMPLED: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-01")
_Attributes = dict[str, str | int]


class _TakenIn(NamedTuple):
    """What is being taken in by this task, and its span if it is traced."""

    span: Span | None


_taken_in: ContextVar[_TakenIn | None] = ContextVar("taken_in", default=None)


class OpenTelemetry(Tracing):
    """Spans of what is traced.

    Args:
        provider: Makes spans, and sends them.
        ratio: The share of requests and pages that are traced.
    """

    def __init__(self, provider: TracerProvider, ratio: float) -> None:
        self._tracer = provider.get_tracer("punchstream")
        self._ratio = ratio

    @classmethod
    def to(cls, url: str, ratio: float, stage: str) -> Self:
        """Tracing that sends to a collector, now and then, and at the end of the process.

        Args:
            url: The collector's, of OTLP over HTTP.
            ratio: The share of requests and pages that are traced.
            stage: Names the service.
        """
        resource = Resource.create({"service.name": f"punchstream-{stage}", "service.version": version("punchstream")})
        # What is traced is decided here, for less than the SDK takes to make a span that records nothing.
        provider = TracerProvider(ALWAYS_ON, resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        return cls(provider, ratio)

    @contextmanager
    def taken_in(self, name: str, /, **attributes: str) -> Iterator[None]:
        """See `Tracing.taken_in`."""
        span = None
        if self._is_drawn():
            named = {f"punchstream.{key}": value for key, value in attributes.items()}
            span = self._tracer.start_span(name, Context(), SpanKind.SERVER, named)
        token = _taken_in.set(_TakenIn(span))
        try:
            with _ended([span] if span else []):
                yield
        finally:
            _taken_in.reset(token)

    @contextmanager
    def published(self, records: Sequence[OutRecord], /) -> Iterator[Sequence[OutRecord]]:
        """See `Tracing.published`."""
        around = _taken_in.get()
        if around is None and self._is_drawn():
            parent = Context()
        elif around is not None and around.span is not None:
            parent = set_span_in_context(around.span, Context())
        else:
            yield records
            return
        size: _Attributes = {"messaging.batch.message_count": len(records)}
        span = self._tracer.start_span("publish", parent, SpanKind.PRODUCER, size)
        with _ended([span]):
            yield [_with_context(record, span) for record in records]

    def _is_drawn(self) -> bool:
        return random.random() < self._ratio  # noqa: S311 - no secret

    @contextmanager
    def carried(self, name: str, pairs: Iterable[tuple[Record, OutRecord]], /) -> Iterator[Sequence[OutRecord]]:
        """See `Tracing.carried`."""
        spans: list[Span] = []
        outcomes: list[OutRecord] = []
        for record, outcome in pairs:
            parent = _parent(record)
            if parent is None:
                outcomes.append(outcome)
                continue
            # A host's clock may be behind that of the one before.
            began = min(record.timestamp * MILLISECOND, time.time_ns())
            attributes = _place(record) | {"punchstream.outcome.topic": outcome.topic}
            span = self._tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, start_time=began)
            spans.append(span)
            outcomes.append(_with_context(outcome, span))
        with _ended(spans):
            yield outcomes

    @contextmanager
    def asked(self, name: str, records: Iterable[Record], /) -> Iterator[None]:
        """See `Tracing.asked`."""
        records = list(records)
        size: _Attributes = {"messaging.batch.message_count": len(records)}
        spans = [
            self._tracer.start_span(name, parent, SpanKind.CLIENT, _place(record) | size)
            for record in records
            if (parent := _parent(record)) is not None
        ]
        with _ended(spans):
            yield


@contextmanager
def _ended(spans: Sequence[Span]) -> Iterator[None]:
    """Ends spans, as failed where what they are around failed."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            # Its type alone: a message may hold what a punch says.
            span.set_status(StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def _parent(record: Record) -> Context | None:
    """The context that a record came with, if it is traced."""
    headers: Headers = record.headers or ()
    found = next((data for name, data in headers if name == TRACEPARENT), None)
    match = _SAMPLED.fullmatch(found or b"")
    if match is None:
        return None
    trace, span = (int(number, 16) for number in match.groups())
    context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(context), Context()) if context.is_valid else None


def _with_context(record: OutRecord, span: Span) -> OutRecord:
    """A record that carries a span's context instead of any other. First: what marks a copy is its last header."""
    context = span.get_span_context()
    ours = (TRACEPARENT, b"00-%032x-%016x-01" % (context.trace_id, context.span_id))
    return record._replace(headers=[ours, *(header for header in record.headers if header[0] != TRACEPARENT)])


def _place(record: Record) -> _Attributes:
    """Where a record stands, in the words of OpenTelemetry's conventions."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }
