"""A collector of spans: what processes send by OTLP over HTTP, kept in memory."""

import gzip
from collections.abc import Mapping
from typing import NamedTuple

from json_server import JsonHandler, JsonServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collected(NamedTuple):
    """One span, by what tests ask of it."""

    service: str
    name: str
    trace: bytes
    resource: Mapping[str, str]


class SpanCollector(JsonServer):
    """Answers at `url` in a `with`."""

    def __init__(self) -> None:
        self.spans: list[Collected] = []
        collector = self

        class Handler(JsonHandler):
            def do_POST(self) -> None:  # noqa: N802 - the library calls it so
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.spans += _spans(body)
                self.answer(200, {})

        super().__init__(Handler)
        self.url += "/v1/traces"


def _spans(body: bytes) -> list[Collected]:
    found = []
    for each in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {attribute.key: attribute.value.string_value for attribute in each.resource.attributes}
        found += [
            Collected(resource["service.name"], span.name, span.trace_id, resource)
            for scope in each.scope_spans
            for span in scope.spans
        ]
    return found
