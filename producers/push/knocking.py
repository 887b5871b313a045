"""Requests that are turned away: counted, logged and kept with what most likely sent them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from attendance.metrics import Metrics
from attendance.records.terminals import Knock
from producers.devices.contract import Route
from producers.knocks import Knocks
from producers.push.senders import LOOKED_AT, likely_sender

Receive = Callable[[], Awaitable[Any]]

LONGEST_PATH: Final = 120
LONGEST_AGENT: Final = 64
LONGEST_ADDRESS: Final = 64
MOST_NAMES: Final = 8
MOST_SEGMENTS: Final = 16
LONGEST_WORD: Final = 64
PEEK_SECONDS: Final = 1.0
HIDDEN: Final = "***"

# A token may stand anywhere. What is shown looks like a word of a program, which a token does not.
_SHOWN: Final = re.compile(
    r"[A-Za-z]{1,4}\d(\.\d)?|\.?[a-z]{1,16}|[A-Z]{1,8}"
    r"|[A-Z]?[a-z]{1,12}([A-Z][a-z]{1,12}){0,3}|[A-Za-z]{1,16}(-[a-z]{1,10})?\.[a-z]{2,5}"
)


class Knocking:
    """Counts, logs and keeps what is turned away.

    Args:
        knocks: Where it is kept and logged.
        metrics: Where it is counted.
        routes: What push serves: where a token stands in their paths, none is shown.
        is_token: Whether a word is the token of a device.
    """

    def __init__(
        self, knocks: Knocks, metrics: Metrics, routes: Iterable[Route], is_token: Callable[[str], bool]
    ) -> None:
        self._knocks = knocks
        self._metrics = metrics
        self._is_token = is_token
        self._words, self._before_tokens = set[str](), set[str]()
        for route in routes:
            segments = route.path.strip("/").split("/")
            for index, segment in enumerate(segments):
                if segment == "{token}":
                    self._before_tokens.add(segments[index - 1])
                elif "{" not in segment:
                    self._words.add(segment.lower())

    def note(
        self,
        cause: str,
        scope: Mapping[str, Any],
        status: int,
        *,
        why: str = "",
        body: bytes = b"",
        sender: str | None = None,
        device_id: str | None = None,
        keep: bool = True,
    ) -> None:
        """Take in one request that was turned away.

        Args:
            cause: One of a closed set: a reason of a refusal, or one of `producers/knocks.py`.
            scope: The request, as ASGI has it; what is missing was not understood.
            status: What it was answered.
            why: What was wrong, for the log.
            body: How the body begins; empty where that is not known.
            sender: What sent it, where that is known better than by the request.
            device_id: The device whose token or serial number it has.
            keep: Whether it is kept and logged, not only counted.
        """
        path = str(scope.get("path", ""))
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        names = [unquote(pair.partition("=")[0]) for pair in query.split("&")[:MOST_NAMES] if pair]
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        sender = sender or likely_sender(path, names, headers, body)
        self._metrics.count("punchstream_knocks_total", cause=cause, sender=sender)
        if keep:
            knock = Knock(
                client=client_of(scope) or "",
                cause=cause,
                sender=sender,
                first_seen="",
                last_seen="",
                method=_printable(str(scope.get("method", "")), 16),
                path=self.shown(path, names),
                status=status,
                user_agent=_printable(headers.get("user-agent", ""), LONGEST_AGENT),
                device_id=device_id,
            )
            self._knocks.note(knock, why)

    def shown(self, path: str, names: Iterable[str] = ()) -> str:
        """A path as it may be shown: without what may be a token, and of the query the names alone.

        Args:
            path: As it was asked for.
            names: Of the values in the query.
        """
        shown, before = [], ""
        for segment in path.split("/", MOST_SEGMENTS)[:MOST_SEGMENTS]:
            shown.append(segment if self._may_be_shown(segment, before) else HIDDEN)
            before = segment.lower()
        text = "/".join(shown)
        words = "&".join(name if self._may_be_shown(name) else HIDDEN for name in names)
        return (f"{text}?{words}" if words else text)[:LONGEST_PATH]

    def _may_be_shown(self, word: str, before: str = "") -> bool:
        if not word:
            return True
        if len(word) > LONGEST_WORD or self._is_token(word):
            return False
        if word.lower() in self._words:
            return True
        return before not in self._before_tokens and bool(_SHOWN.fullmatch(word))


def client_of(scope: Mapping[str, Any]) -> str | None:
    """The address that a request came from."""
    client = scope.get("client")
    return None if client is None else _printable(str(client[0]), LONGEST_ADDRESS)


async def peek(receive: Receive) -> bytes:
    """How a body begins that nobody reads; empty where it does not come at once."""
    try:
        async with asyncio.timeout(PEEK_SECONDS):
            return bytes((await receive()).get("body", b"")[:LOOKED_AT])
    except TimeoutError:
        return b""


def _printable(text: str, longest: int) -> str:
    if text.isascii() and text.isprintable():
        return text[:longest]
    return "".join(char for char in text[: 4 * longest] if " " <= char <= "~")[:longest]
