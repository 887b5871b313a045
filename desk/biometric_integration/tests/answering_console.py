"""A small HTTP server that stands for Punchstream's console in tests."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import frappe

TOKEN = "punchstream_of_the_tests"  # noqa: S105 - of no console


class AnsweringConsole:
    """Answers what a test says, and keeps what it was asked.

    Attributes:
        answers: By path, below `/api/v1/`: a status and what JSON says; or bytes; or what makes either of the query.
        asked: The path and the query, or the content, of each request.
        tokens: What each request had as Authorization.
        headers: What is sent besides.
        pause: Seconds between the bytes of an answer.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.tokens: list[str | None] = []
        self.headers: dict[str, str] = {}
        self.pause = 0.0
        self.address = ""

    def answer(self, path: str, given: dict[str, Any]) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        answer = self.answers.get(path, (404, {"error": "there is no such call"}))
        answer = answer(given) if callable(answer) else answer
        status, content = answer
        return status, content if isinstance(content, bytes) else json.dumps(content).encode()


@contextmanager
def answering() -> Iterator[AnsweringConsole]:
    """A console that answers, and settings that name it."""
    console = AnsweringConsole()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(dict(parse_qsl(urlsplit(self.path).query)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            self._answer(json.loads(body) if body else {})

        def _answer(self, given: dict[str, Any]) -> None:
            path = urlsplit(self.path).path.removeprefix("/api/v1/")
            console.asked.append((path, given))
            console.tokens.append(self.headers.get("authorization"))
            status, body = console.answer(path, given)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            for header in console.headers.items():
                self.send_header(*header)
            self.end_headers()
            try:
                if not console.pause:
                    self.wfile.write(body)
                for byte in body if console.pause else b"":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(console.pause)
            except OSError:
                return  # whoever asked has gone

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    console.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        name_console(console.address, TOKEN)
        yield console
    finally:
        server.shutdown()
        server.server_close()


def name_console(address: str, token: str) -> None:
    """Have the settings name a console."""
    settings = frappe.get_doc("Punchstream Settings")
    settings.update({"console_url": address, "api_token": token})
    settings.save(ignore_permissions=True)


def user_with(*roles: str) -> str:
    """A new user with some roles."""
    user = frappe.get_doc({"doctype": "User", "email": f"{frappe.generate_hash(length=8)}@example.com"})
    user.update({"first_name": "Test", "send_welcome_email": 0, "roles": [{"role": role} for role in roles]})
    return user.insert(ignore_permissions=True).name
