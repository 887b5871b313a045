"""The stand-in over HTTP: Frappe's REST interface at `/api`, and at `/sandbox` what tests need besides."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from fastapi import FastAPI, Response

from sandbox.erpnext.control import StandIn, control_routes
from sandbox.erpnext.frappe import html_answer, sleep
from sandbox.erpnext.knobs import Fault, Knobs
from sandbox.erpnext.site import Site

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSE_CONNECTION: Final = "sandbox.close_connection"
"""The ASGI extension of a server that lets the stand-in close a connection without an answer, by calling `close`."""

MAX_REQUEST_LINE: Final = 4094
_REQUEST_LINE_BUFFER: Final = 8192
_VERBS: Final = ["GET", "POST", "PUT", "DELETE"]


def create_app(site: Site, knobs: Knobs | None = None) -> FastAPI:
    """The stand-in for that site.

    Args:
        site: Its documents, for this application alone.
        knobs: How it behaves to begin with, and after a reset.

    Returns:
        An application for a server of one process. A request that it has begun goes on when its client leaves.
    """
    stand_in = StandIn(site, knobs)
    app = FastAPI(title="ERPNext stand-in", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(control_routes(stand_in), prefix="/sandbox")
    app.add_api_route("/{path:path}", stand_in.frappe.answer, methods=_VERBS, response_model=None)
    app.add_middleware(_Front, stand_in=stand_in)
    return app


class _Front:
    """What happens to a request before Frappe sees it, and to its answer afterwards."""

    def __init__(self, app: Asgi, stand_in: StandIn) -> None:
        self._app = app
        self._stand_in = stand_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        # Before any wait: once the client has gone, nothing more of its request can be read.
        request = await _whole_request(receive)
        if request is None:
            return
        control = self._stand_in.control
        await sleep(control.knobs.latency_ms)
        fault = control.take_fault(f"{scope['method']} {scope['path']}")
        if fault is not None and fault.action == "close_before":
            self._close(scope)
            return
        answer: list[Message] = []

        async def replay() -> Message:
            return request

        async def keep(message: Message) -> None:
            answer.append(message)

        await (self._refusal(scope, fault, len(request["body"])) or self._app)(scope, replay, keep)
        await self._send_answer(fault, answer, scope, send)

    def _refusal(self, scope: Scope, fault: Fault | None, body_bytes: int) -> Response | None:
        """The answer of what stands in front of Frappe; None lets the request through."""
        query = scope["query_string"]
        line = b" ".join((scope["method"].encode(), scope["raw_path"] + (b"?" + query if query else b""), b"HTTP/1.1"))
        if len(line) > MAX_REQUEST_LINE:
            size = min(len(line), _REQUEST_LINE_BUFFER)
            return html_answer(400, f"Request Line is too large ({size} > {MAX_REQUEST_LINE})")
        max_body = self._stand_in.control.knobs.max_body
        if max_body is not None and body_bytes > max_body:
            return html_answer(413)
        match fault:
            case Fault(action="status"):
                return self._stand_in.frappe.refusal(fault.refusal())
            case Fault(action="html_500"):
                return html_answer(500)
            case Fault(action="html_502"):
                return html_answer(502)
            case _:
                return None

    async def _send_answer(self, fault: Fault | None, answer: list[Message], scope: Scope, send: Send) -> None:
        start, *rest = answer
        body: bytes = b"".join(message.get("body", b"") for message in rest)
        match fault:
            case Fault(action="close_after_write"):
                self._close(scope)
                return
            case Fault(action="truncated"):
                await send(start)
                await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
                self._close(scope)
                return
            case Fault(action="slow_answer"):
                await sleep(fault.delay_ms)
            case Fault(action="empty"):
                body = b""
                kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                start["headers"] = [*kept, (b"content-length", b"0")]
        self._stand_in.stats.count(scope["method"], scope["path"], str(start["status"]))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def _close(self, scope: Scope) -> None:
        self._stand_in.stats.count(scope["method"], scope["path"], "closed")
        extension = scope.get("extensions", {}).get(CLOSE_CONNECTION)
        if extension is None:
            raise ConnectionResetError("closed by a fault")
        extension["close"]()


async def _whole_request(receive: Receive) -> Message | None:
    """The request with all of its body, in one message; None when the client leaves before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return {"type": "http.request", "body": b"".join(parts), "more_body": False}
