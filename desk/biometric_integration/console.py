"""The API of Punchstream's console, as the desk asks it. The token stays on the server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlsplit

import frappe
import requests
from frappe import _
from frappe.utils import escape_html
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

SETTINGS: Final = "Punchstream Settings"
CONNECT: Final = 2.0
"""Seconds within which a connection is there."""
DEADLINE: Final = 5.0
"""Seconds within which an answer that somebody waits for is there."""
LARGEST: Final = 8 * 1024 * 1024
"""Bytes of an answer."""
PART: Final = 64 * 1024
LOCAL: Final = frozenset(("localhost", "127.0.0.1", "::1"))
ROOT: Final = "/api/v1/"
Json: TypeAlias = Any
"""What JSON says, of which nothing is known."""


class ConsoleProblem(frappe.ValidationError):
    """The console does not say what it was asked for. The message is for whoever is at the desk."""


class _Bearer(AuthBase):
    """The token. Without this, a .netrc of the server would have another one sent."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def check_address(address: str) -> str:
    """The address of a console, as it is kept.

    Args:
        address: Such as https://punches.example.com.

    Raises:
        ValueError: it is no such address, or the token would go over the network in the clear.
    """
    address = address.strip().rstrip("/")
    parts = urlsplit(address)
    _port = parts.port  # a ValueError where it is none
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError("an address such as https://punches.example.com, without a path")
    if parts.username is not None or any(each.isspace() for each in address):
        raise ValueError("an address without a name, a password or spaces")
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        raise ValueError("an address with https, since the token would go over the network in the clear")
    return address


def get(path: str, **query: object) -> Json:
    """Ask the console.

    Args:
        path: Of the call, below `/api/v1/`.
        query: What it is asked with; what is None is left out.

    Returns:
        The JSON of its answer.

    Raises:
        ConsoleProblem: it does not answer within `DEADLINE`, refuses, or cannot be understood.
        frappe.DoesNotExistError: it has no such thing, or not for the token.
    """
    return _call("GET", path, query={name: value for name, value in query.items() if value is not None})


def post(path: str, content: Json = None, seconds: float = DEADLINE) -> Json:
    """Have the console do something.

    Args:
        path: Of the call.
        content: What it is told, as JSON.
        seconds: Within which its answer is there.

    Returns:
        What `get` returns. Raises what `get` raises.
    """
    return _call("POST", path, content=content, seconds=seconds)


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def address() -> str:
    """Where the console is.

    Raises:
        ConsoleProblem: nobody has said it.
    """
    found = frappe.db.get_single_value(SETTINGS, "console_url")
    if not found:
        raise problem(
            _("{0} does not say where Punchstream's console is. A System Manager sets it.").format(_(SETTINGS))
        )
    return found


@contextmanager
def understood() -> Iterator[None]:
    """While an answer is read: what is missing in it is said, and is no error of the desk.

    Raises:
        ConsoleProblem: something of the answer is missing, or is not what it should be.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        frappe.logger("punchstream").error(f"An answer of the console was not understood: {error!r}")
        raise problem(
            _("Punchstream's console answered what this app does not understand. Their versions may not fit.")
        ) from error


def _call(method: str, path: str, *, query: Json = None, content: Json = None, seconds: float = DEADLINE) -> Json:
    root, ends = address(), time.monotonic() + seconds
    token = frappe.get_doc(SETTINGS).get_password("api_token", raise_exception=False)
    if not token:
        raise problem(_("{0} has no token of Punchstream's console. A System Manager sets it.").format(_(SETTINGS)))
    try:
        with requests.request(
            method,
            root + ROOT + path,
            params=query,
            json=content,
            auth=_Bearer(token),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=(CONNECT, seconds),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = _body(response, ends)
    except (requests.RequestException, HTTPError, OSError) as error:
        frappe.logger("punchstream").warning(f"Punchstream's console does not answer: {error}")
        raise problem(
            _("Punchstream's console does not answer now. Try again in a minute; IT may have to look.")
        ) from error
    return _said(response, body)


def _body(response: requests.Response, ends: float) -> bytes:
    """The whole answer, which may neither be too large nor come too slowly."""
    body = bytearray()
    while part := response.raw.read1(PART):
        body += part
        if len(body) > LARGEST:
            raise problem(_("Punchstream's console answered more than this app takes. Choose fewer days."))
        if time.monotonic() > ends:
            raise requests.Timeout("the answer takes too long")
    return bytes(body)


def _said(response: requests.Response, body: bytes) -> Json:
    status = response.status_code
    try:
        said = frappe.parse_json(body.decode()) if body else None
    except ValueError:
        said = None
    why = escape_html(str(said["error"])) if isinstance(said, dict) and "error" in said else str(status)
    if 200 <= status < 300 and (said is not None or not body):
        return said
    if status == 401:
        raise problem(
            _("Punchstream's console refuses the token of {0}. A System Manager sets another one.").format(SETTINGS)
        )
    if status == 403:
        raise problem(
            _("The token of {0} may not do this in Punchstream's console: its role is too small.").format(SETTINGS)
        )
    if status == 404 and isinstance(said, dict):
        raise problem(_("Punchstream's console says: {0}").format(why), frappe.DoesNotExistError)
    if status in (409, 422):
        raise problem(_("Punchstream's console says: {0}").format(why))
    if status in (429, 503):
        raise problem(_("Punchstream's console cannot answer now: {0}").format(why))
    raise problem(
        _("At the address in {0} something else than Punchstream's console answers: {1}").format(SETTINGS, status)
    )


def problem(message: str, kind: type[Exception] = ConsoleProblem) -> Exception:
    """What is raised where the console does not say. The desk shows its message, and no traceback.

    Args:
        message: A sentence.
        kind: The class of the exception.
    """
    frappe.flags.disable_traceback = True
    frappe.msgprint(message, title=_("Punchstream's Console"), indicator="red")
    return kind(message)
