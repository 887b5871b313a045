"""Tracing into memory, and spans as tests compare them."""

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from attendance.open_telemetry import OpenTelemetry


class Traces:
    """Tracing of a share of all that is taken in, and the spans that have ended.

    Args:
        ratio: The share.
    """

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(ALWAYS_ON)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = OpenTelemetry(provider, ratio)

    @property
    def spans(self) -> dict[str, list[ReadableSpan]]:
        """By name, in the order in which they ended."""
        found: dict[str, list[ReadableSpan]] = {}
        for span in self._exporter.get_finished_spans():
            found.setdefault(span.name, []).append(span)
        return found


def ids(span: ReadableSpan) -> tuple[int, int]:
    """The trace, and the span."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    """The trace, and the span that this one is in; None for a root."""
    return (span.parent.trace_id, span.parent.span_id) if span.parent is not None else None
