"""Guarding: what every request and every answer of the console keeps to, whoever is signed in.

A page runs no script and shows no picture that is not ours, stands in nobody's frame, and is kept by no cache. Whatever
changes something comes from a page of ours: the browser says so itself (`Sec-Fetch-Site`, or `Origin` where it is
older), and what a session sends has its token besides (`console.sessions`). A name that is not ours is not served, so
that a page of somebody else's cannot reach a console on this machine under a name of its own.
"""

import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.hosts import LOOPBACK
from console.settings import ConsoleSettings

_READS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_FIXED: Final[Mapping[str, str]] = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_KEPT: Final = "public, max-age=31536000, immutable"
_NOT_KEPT: Final = "no-store"
STATIC: Final = "/static/"
"""Below it are files whose address changes with their content."""


def policy(nonce: str) -> str:
    """The Content-Security-Policy of a page.

    Args:
        nonce: Of its scripts.
    """
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


class Guarding:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        """Nothing is served yet.

        Args:
            app: The application.
            settings: Under which name it is reached.
        """
        self._app = app
        self._is_secure = settings.is_secure
        outside = urlsplit(settings.url).hostname if settings.url else None
        self._hosts = LOOPBACK | ({outside} if outside else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (refusal := self._refusal(scope["method"], headers)) is not None:
            await PlainTextResponse(refusal, 403)(scope, receive, self._with_headers(send, secrets.token_urlsafe(16)))
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce
        kept = scope["path"].startswith(STATIC)
        await self._app(scope, receive, self._with_headers(send, nonce, kept=kept))

    def _refusal(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return "The console is not served under this name; CONSOLE_URL says under which it is.\n"
        if method in _READS:
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            is_ours = site == "same-origin"
        elif origin is not None:
            is_ours = origin.partition("://")[2] == host
        else:
            # A browser always says one of the two. What is no browser has no cookies that it could be made to send.
            is_ours = "cookie" not in headers
        return None if is_ours else "This comes from a page that is not the console's.\n"

    def _with_headers(self, send: Send, nonce: str, *, kept: bool = False) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_FIXED)
                headers["content-security-policy"] = policy(nonce)
                headers["cache-control"] = _KEPT if kept and message["status"] == 200 else _NOT_KEPT
                if self._is_secure:
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        return sending


def _name(host: str) -> str | None:
    """The name in a `Host` header, without a port; None where there is none."""
    try:
        return urlsplit(f"//{host}").hostname if "@" not in host else None
    except ValueError:
        return None
