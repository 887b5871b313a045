"""ErpnextClient: one ERPNext site over its REST interface. It uses frappe-client's session and reads answers itself.

frappe-client takes every error without a traceback for success, has no timeout, and cannot insert many. So only its
session is used. Answers are told apart by HTTP status and `exc_type`, never by their text, which is translated.
"""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import orjson
import requests
from frappeclient import FrappeClient

from attendance.errors import (
    AccessDenied,
    Conflict,
    DocumentRejected,
    PermissionDenied,
    PunchstreamError,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
    ZoneInDoubt,
)
from attendance.settings import ErpnextSettings
from attendance.times import now, read_retry_after

Filter = tuple[str, str, object]
"""A field, an operator such as `=` or `in`, and a value."""
Document = dict[str, Any]
"""The fields of a document, as JSON."""

MAX_INSERT_MANY: Final = 200  # Frappe refuses more in one request
CHECKIN: Final = "Employee Checkin"
SHIFT_TYPE: Final = "Shift Type"
EVENT_ID_FIELD: Final = "event_id"

DESK: Final = "/app"  # the page of ERPNext's desk
_DESKS: Final = (DESK, "/desk")
# In the page it is JSON, so quotes inside a text are escaped, and no text of a user can look like this.
_SYSTEM_ZONE: Final = re.compile(rb'"time_zone"\s*:\s*\{[^{}]*?"system"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_LONGEST_ZONE: Final = 1000  # bytes
_PAGE_PART: Final = 8192  # bytes
_LARGEST_PAGE: Final = 32 * 1024 * 1024  # bytes; the page of a desk with many modules has some 2 MB
_MOST_REDIRECTS: Final = 3

CONNECT_SECONDS: Final = 5.0  # a site that is there takes a connection at once

_BUSY: Final = frozenset({429, 503})
_GIVEN_UP: Final = frozenset({408, 502, 504})  # by a proxy
# By the database. Not OperationalError: it says that of an outage, and of a value that it will not take.
_LOCKED: Final = frozenset({"QueryTimeoutError", "QueryDeadlockError"})
# A page that announces maintenance may name an hour, and the site be back after a minute.
_LONGEST_CLOSED: Final = 10.0
_CHANGED: Final = "TimestampMismatchError"
_TAGS: Final = re.compile(r"<[^>]+>")


class ErpnextClient:
    """One connection to the site. Not safe for threads: each thread needs its own.

    Every method that asks the site raises what `call` raises.
    """

    def __init__(self, settings: ErpnextSettings) -> None:
        self._client = FrappeClient(
            settings.url.rstrip("/"),
            api_key=settings.api_key,
            api_secret=settings.api_secret.get_secret_value(),
            verify=settings.verify_tls,
        )
        session = self._client.session
        # Proxies and certificates of the environment, once: looking at each request costs more than a tenth of it. And
        # requests would put what a .netrc file says in the place of our credentials.
        environment = session.merge_environment_settings(self._client.url, {}, None, self._client.verify, None)
        session.proxies, self._client.verify = environment["proxies"], environment["verify"]
        session.trust_env = False
        self._timeout = settings.timeout
        self.clock_ahead = timedelta()
        """By how much the site's clock was ahead of ours at its last answer, by its header `Date`; none without one."""
        self._closed = False

    def close(self) -> None:
        """Drop the connection, and refuse every later request of whoever still uses it. Safe from any thread."""
        self._closed = True
        self._client.session.close()

    def logged_user(self) -> str:
        """The user that the credentials belong to."""
        return str(_part(self.call("GET", "/api/method/frappe.auth.get_logged_user"), "message"))

    def site_zone(self) -> str:
        """The IANA zone of the site itself, in which ERPNext keeps its naive times.

        `frappe.client.get_time_zone` is not asked: it answers the zone of the API user's profile, which ERPNext copies
        from the site when the user is made and never changes again.

        Returns:
            What System Settings say or, if the user may not read them, the data with which ERPNext's desk starts. The
            name is not checked.

        Raises:
            ZoneInDoubt: Neither says it. The message has the reason.
        """
        path = "/api/method/frappe.client.get_value?doctype=System+Settings&fieldname=time_zone"
        try:
            found = self.call("GET", path).get("message")
        except (PermissionDenied, DocumentRejected):
            found = None  # only a System Manager may read System Settings
        if isinstance(found, dict) and found.get("time_zone"):
            return str(found["time_zone"])
        return self._desk_zone()

    def _desk_zone(self) -> str:
        """The zone in the data with which ERPNext's desk starts."""
        path = DESK
        for _ in range(_MOST_REDIRECTS):
            response = self._request("GET", path, None, accept="text/html", stream=True)
            with response:
                if not 300 <= response.status_code < 400:
                    return self._zone_of_page(response, path)
                target = urlsplit(urljoin(response.url, response.headers.get("Location", "")))
            if target.netloc != urlsplit(response.url).netloc or not target.path.startswith(_DESKS):
                raise ZoneInDoubt(
                    f"GET {path} redirects to {target.geturl()}, and not to the desk: does a proxy drop the token, or "
                    "is the API user no System User?"
                )
            path = target.path
        raise ZoneInDoubt(f"GET {DESK} redirects again and again")

    def _zone_of_page(self, response: requests.Response, path: str) -> str:
        status = response.status_code
        if status in _BUSY | _GIVEN_UP:
            raise TargetUnavailable(
                f"GET {path}: {status} {response.reason}", read_retry_after(response.headers.get("Retry-After", ""))
            )
        if status == 401:
            raise AccessDenied(f"GET {path}: {status} {response.reason}")
        if status != 200:
            raise ZoneInDoubt(f"GET {path} is answered by {status} {response.reason}")
        page, read, until = b"", 0, time.monotonic() + self._timeout
        try:
            for part in response.iter_content(_PAGE_PART):
                # The end of what was searched before may be the begin of what is searched for.
                page = page[-_LONGEST_ZONE:] + part
                if found := _SYSTEM_ZONE.search(page):
                    return str(orjson.loads(found[1]))
                read += len(part)
                if read > _LARGEST_PAGE or time.monotonic() > until:
                    raise ZoneInDoubt(f"GET {path} has no zone in its first {read:,} bytes")
        except requests.RequestException as error:
            raise TargetUnavailable(f"GET {path}: {type(error).__name__}") from error
        raise ZoneInDoubt(
            f"GET {path} is answered by a page without the data of ERPNext's desk: by what stands before?"
        )

    def get_list(
        self,
        doctype: str,
        fields: Sequence[str],
        filters: Sequence[Filter] = (),
        *,
        order_by: str | None = None,
        start: int = 0,
        limit: int = 0,
    ) -> list[Document]:
        """List documents.

        Args:
            doctype: Of which kind.
            fields: The fields that each document is returned with.
            filters: All of them must match.
            order_by: Such as `creation desc`; as the site likes if it is None.
            start: How many to skip.
            limit: How many at most; 0 is all of them.

        Returns:
            The documents that match.
        """
        body: dict[str, Any] = {
            "doctype": doctype,
            "fields": list(fields),
            "filters": [list(each) for each in filters],
            "limit_start": start,
            "limit_page_length": limit,
        }
        if order_by:
            body["order_by"] = order_by
        # POST, because a request line takes only some 4,000 characters.
        return list(_part(self.call("POST", "/api/method/frappe.client.get_list", body), "message"))

    def count(self, doctype: str) -> int:
        """How many documents of that kind this user may read.

        Args:
            doctype: Of which kind.
        """
        # Not `frappe.client.get_count`, which counts what the user may not read, too.
        body = {"doctype": doctype, "filters": [], "save_user_settings": "false"}
        count = _part(self.call("POST", "/api/method/frappe.desk.reportview.get_count", body), "message")
        if not isinstance(count, int):
            raise TargetUnavailable(f"{count!r} in place of a number of documents")
        return count

    def get(self, doctype: str, name: str) -> Document:
        """Read one document.

        Args:
            doctype: Of which kind.
            name: Its name.

        Returns:
            All its fields.
        """
        return dict(_part(self.call("GET", _resource(doctype, name)), "data"))

    def update(self, doctype: str, name: str, fields: Mapping[str, Any]) -> Document:
        """Set fields of one document.

        Args:
            doctype: Of which kind.
            name: Its name.
            fields: What to set. With `modified` as it was read, the site refuses if somebody else was faster.

        Returns:
            All fields of the document, as the site has them now.
        """
        return dict(_part(self.call("PUT", _resource(doctype, name), fields), "data"))

    def cancel(self, doctype: str, name: str) -> None:
        """Cancel one submitted document.

        Args:
            doctype: Of which kind.
            name: Its name.
        """
        self.call("POST", "/api/method/frappe.client.cancel", {"doctype": doctype, "name": name})

    def run_method(self, doctype: str, name: str, method: str) -> None:
        """Run a method of one document. It may go on after a timeout.

        Args:
            doctype: Of which kind.
            name: The document's name.
            method: The method's name.
        """
        self.call("POST", "/api/method/run_doc_method", {"dt": doctype, "dn": name, "method": method})

    def insert(self, document: Mapping[str, Any]) -> str:
        """Store one document, and return its name."""
        return str(_part(self.create(document), "name"))

    def create(self, document: Mapping[str, Any]) -> Document:
        """Store one document, submitted at once where its `docstatus` is 1, and return all its fields."""
        return dict(_part(self.call("POST", f"/api/resource/{quote(document['doctype'])}", document), "data"))

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        """Store up to 200 documents, all or none, and return their names in order."""
        answer = self.call("POST", "/api/method/frappe.client.insert_many", {"docs": list(documents)})
        return [str(name) for name in _part(answer, "message")]

    def delete(self, doctype: str, name: str) -> None:
        """Remove one document. ERPNext keeps it as a Deleted Document.

        Args:
            doctype: Of which kind.
            name: Its name.
        """
        self.call("DELETE", _resource(doctype, name))

    def wants_coordinates(self) -> bool:
        """Whether the site refuses check-ins without coordinates: HR Settings, Allow Geolocation Tracking."""
        try:
            # Open to every user, as the mobile app needs it.
            answer = self.call("GET", "/api/method/hrms.api.get_hr_settings").get("message")
        except DocumentRejected:
            return False  # an hrms without this method has no such setting either
        return isinstance(answer, dict) and str(answer.get("allow_geolocation_tracking")) == "1"

    def has_field(self, doctype: str, fieldname: str) -> bool:
        """Whether documents of that kind have a field of that name. Whether it is unique, only a trial tells."""
        try:
            # The site rejects a list that names an unknown field.
            self.get_list(doctype, [fieldname], limit=1)
        except DocumentRejected:
            return False
        return True

    def has_event_id_field(self) -> bool:
        """Whether Employee Checkin has a field `event_id`."""
        return self.has_field(CHECKIN, EVENT_ID_FIELD)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one request.

        Args:
            method: The HTTP method.
            path: With the query, quoted.
            body: Sent as JSON.

        Returns:
            The JSON object that answers it.

        Raises:
            TargetUnavailable: The site is not there, or says "later". Nothing was written.
            RequestAbandoned: No answer, an unreadable one, or a lock was not free. A write may have happened.
            Conflict: The document has changed since `modified`.
            ServerError: The site failed inside on this request.
            AccessDenied: The credentials, a permission or the address is wrong.
            PermissionDenied: The user is known and lacks the permission for this request.
            DocumentRejected: The site will not take this request as it is.
        """
        return _read(self._request(method, path, None if body is None else orjson.dumps(body)))

    def _request(
        self, method: str, path: str, body: bytes | None, *, accept: str = "application/json", stream: bool = False
    ) -> requests.Response:
        if self._closed:
            raise TargetUnavailable(f"{self._client.url}: {method} {path}: this connection was closed")
        try:
            response: requests.Response = self._client.session.request(
                method,
                self._client.url + path,
                data=body,
                headers={"Accept": accept, "Content-Type": "application/json"},
                timeout=(min(CONNECT_SECONDS, self._timeout), self._timeout),
                verify=self._client.verify,
                # Following one would turn a POST into a GET, whose answer looks like success.
                allow_redirects=False,
                stream=stream,
            )
        except requests.RequestException as error:
            failure = TargetUnavailable if _was_not_sent(error) else RequestAbandoned
            raise failure(f"{self._client.url}: {method} {path}: {type(error).__name__}") from error
        self.clock_ahead = _clock_ahead(response.headers.get("Date", ""), now())
        return response


def _clock_ahead(date: str, ours: datetime) -> timedelta:
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return timedelta()
    return theirs - ours if theirs.tzinfo is not None else timedelta()


def _was_not_sent(error: requests.RequestException) -> bool:
    """Whether there was no connection to send the request over."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.SSLError):
        return True
    # The library wraps what it got: this where it could not connect, another where the connection broke off.
    return (
        isinstance(error, requests.ConnectionError) and type(next(iter(error.args), None)).__name__ == "MaxRetryError"
    )


def _resource(doctype: str, name: str) -> str:
    return f"/api/resource/{quote(doctype)}/{quote(name, safe='')}"


def _part(answer: Mapping[str, Any], *path: str) -> Any:  # noqa: ANN401 - JSON
    """A part of an answer. An answer without it is not Frappe's, whatever its status said."""
    part: Any = answer
    for name in path:
        part = part.get(name) if isinstance(part, dict) else None
    if part is None:
        raise RequestAbandoned(f"an answer without {'.'.join(path)}")
    return part


def _read(response: requests.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    status = response.status_code
    if not isinstance(body, dict):
        raise _unreadable(status, response)
    if status < 300:
        if body.get("exc"):
            raise ServerError(f"{status} with an error inside: {_message(body)}")
        return body
    raise _error(response, body)


def _error(response: requests.Response, body: Mapping[str, Any]) -> Exception:
    """What an answer means that is no success."""
    kind = str(body.get("exc_type") or response.reason)
    return to_error(response.status_code, kind, _message(body), _retry_after(response))


def to_error(status: int, kind: str, message: str, retry_after: float | None = None) -> PunchstreamError:
    """The error that an answer of the site means.

    Args:
        status: Its HTTP status.
        kind: The class name of Frappe's exception.
        message: The site's own words.
        retry_after: When to come again, in seconds, where the site says so.
    """
    message = _TAGS.sub("", message)[:500]
    words = f"{status} {kind}: {message}" if message else f"{status} {kind}"
    if kind == _CHANGED:
        return Conflict(f"{status} {kind}")
    if status in _BUSY:
        return TargetUnavailable(words, retry_after)
    if status in _GIVEN_UP or kind in _LOCKED:
        return RequestAbandoned(words, answered=kind in _LOCKED)
    if status in {401, 403}:
        return AccessDenied(words) if status == 401 else PermissionDenied(words)
    if status < 500:
        return DocumentRejected(status, kind, message)
    return ServerError(words)


def _unreadable(status: int, response: requests.Response) -> Exception:
    """The error of an answer that is no JSON object: it comes from something in front of Frappe, or was cut off."""
    if 300 <= status < 400:
        return AccessDenied(f"ERPNEXT_URL redirects to {response.headers.get('Location')}; set it to that address")
    if status in {401, 403, 404}:
        return AccessDenied(f"{status} {response.reason}, and not from Frappe: is ERPNEXT_URL right?")
    if status == 413:
        return DocumentRejected(status, "RequestEntityTooLarge", "")
    words = f"{status} {response.reason} without JSON"
    if status in _BUSY:
        return TargetUnavailable(words, _retry_after(response))
    if 400 <= status < 500 and status not in _GIVEN_UP:
        return DocumentRejected(status, str(response.reason), "")
    return RequestAbandoned(words)


def _retry_after(response: requests.Response) -> float | None:
    seconds = read_retry_after(response.headers.get("Retry-After", ""))
    return min(seconds, _LONGEST_CLOSED) if seconds is not None and response.status_code == 503 else seconds


def _message(body: Mapping[str, Any]) -> str:
    """The site's own words, for a person to read. Nothing is decided by them."""
    try:
        first = orjson.loads(orjson.loads(body["_server_messages"])[0])["message"]
    except (KeyError, IndexError, TypeError, orjson.JSONDecodeError):
        first = body.get("exception") or body.get("_error_message") or ""
    return _TAGS.sub("", str(first))[:500]
