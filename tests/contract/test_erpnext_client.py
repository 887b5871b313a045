"""The client against what a real ERPNext answered: each recording is served as it was, and told apart."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.errors import (
    AccessDenied,
    Conflict,
    DocumentRejected,
    PermissionDenied,
    PunchstreamError,
    RequestAbandoned,
    RetriableError,
    ServerError,
    TargetUnavailable,
    ZoneInDoubt,
)
from attendance.settings import ErpnextSettings
from attendance.times import now

RECORDINGS = Path(__file__).parent / "erpnext_recordings"


@dataclass(frozen=True)
class Answer:
    """What the server sends; `cut` leaves out so many bytes at the end and closes the connection."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """A site on 127.0.0.1 that gives the answers of its list, in order, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer | None] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.date: str | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(timestamp) if server.date is None else server.date

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.requests.append(Request(self.command, self.path, headers, self.rfile.read(length)))
                answer = server.answers.pop(0)
                if answer is None:
                    server.closing.wait(30)
                    return
                if answer.status == 0:
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) - answer.cut])

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server looks for these names

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=lambda: self._http.serve_forever(poll_interval=0.01))
        self._thread.start()

    def stop(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def connect(url: str, timeout: float = 10) -> ErpnextClient:
    return ErpnextClient(ErpnextSettings.load(url=url, api_key="key", api_secret="secret", timeout=timeout))


@pytest.fixture
def client(server: Server) -> Iterator[ErpnextClient]:
    client = connect(server.url)
    yield client
    client.close()


def recorded(name: str) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return recording


def answer_of(recording: dict[str, Any]) -> Answer:
    response = recording["response"]
    body = response["text"] if response["body"] is None else json.dumps(response["body"])
    kept = ("content-type", "retry-after")
    headers = {name: value for name, value in response["headers"].items() if name in kept}
    return Answer(response["status"], (body or "").encode(), headers)


def ask(client: ErpnextClient, server: Server, name: str) -> dict[str, Any]:
    """Send what was sent then, and have it answered as it was then."""
    recording = recorded(name)
    server.answers = [answer_of(recording)]
    request = recording["request"]
    return client.call(request.get("method", "POST"), request.get("path", "/"), request.get("json"))


def error_of(call: Callable[[], object]) -> PunchstreamError:
    with pytest.raises(PunchstreamError) as caught:
        call()
    return caught.value


def answered() -> list[str]:
    """The recordings that hold a whole answer."""
    return sorted(
        path.stem
        for path in RECORDINGS.glob("*.json")
        if isinstance(recorded(path.stem).get("response", {}).get("body"), dict)
    )


def exception_type(name: str) -> str | None:
    """What a recorded error calls itself, in the interface that is used (v2 has another form)."""
    kind: str | None = recorded(name)["response"]["body"].get("exc_type")
    return kind


def test_the_recordings_are_there() -> None:
    assert len(answered()) > 150


@pytest.mark.parametrize(
    "name",
    [
        "auth_unknown_key",
        "auth_bad_secret",
        "auth_malformed",
        "no_traceback_auth_bad",
        "wrong_host",
    ],
)
def test_what_a_person_has_to_mend_is_refused(client: ErpnextClient, server: Server, name: str) -> None:
    assert type(error_of(lambda: ask(client, server, name))) is AccessDenied


@pytest.mark.parametrize(
    "name",
    [
        "auth_none",
        "checkin_no_token",
        "checkin_no_permission",
        "insertmany_no_permission",
        "employee_list_no_permission",
        "employee_list_guest",
    ],
)
def test_a_permission_that_is_missing_is_told_from_wrong_credentials(
    client: ErpnextClient, server: Server, name: str
) -> None:
    assert type(error_of(lambda: ask(client, server, name))) is PermissionDenied


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("checkin_get_missing", 404, "DoesNotExistError"),
        ("path_unknown", 404, "DoesNotExistError"),
        ("checkin_client_name_dup", 409, "DuplicateEntryError"),
        ("checkin_missing_employee", 417, "MandatoryError"),
        ("no_traceback_missing_employee", 417, "MandatoryError"),
        ("checkin_missing_employee_lang_ar", 417, "MandatoryError"),
        ("checkin_missing_employee_site_language_de", 417, "MandatoryError"),
        ("checkin_duplicate_exact", 417, "ValidationError"),
        ("checkin_duplicate_lang_ar", 417, "ValidationError"),
        ("checkin_duplicate_lang_fr", 417, "ValidationError"),
        ("no_traceback_duplicate", 417, "ValidationError"),
        ("checkin_bad_log_type", 417, "ValidationError"),
        ("checkin_inactive_employee", 417, "InactiveEmployeeStatusError"),
        ("checkin_device_id_141", 417, "CharacterLengthExceededError"),
        ("event_id_single_same_id_other_time", 417, "UniqueValidationError"),
        ("event_id_many_one_known", 417, "UniqueValidationError"),
        ("event_id_field_again", 417, "ValidationError"),
        ("employee_list_bad_field", 417, "DataError"),
        ("insertmany_bad_middle", 417, "ValidationError"),
        ("insertmany_201", 417, "ValidationError"),
    ],
)
def test_what_erpnext_will_never_take_is_rejected_by_its_kind(
    client: ErpnextClient, server: Server, name: str, status: int, kind: str
) -> None:
    error = error_of(lambda: ask(client, server, name))
    assert type(error) is DocumentRejected
    assert (error.status, error.kind) == (status, kind)


@pytest.mark.parametrize(
    "name",
    [
        "maintenance_get",
        "maintenance_post",
        "maintenance_bad_token",
        "maintenance_reads_allowed_post",
    ],
)
def test_what_passes_by_itself_is_unavailable(client: ErpnextClient, server: Server, name: str) -> None:
    assert type(error_of(lambda: ask(client, server, name))) is TargetUnavailable


@pytest.mark.parametrize("name", ["mariadb_down_post", "lock_wait_timeout_post"])
def test_a_request_that_was_given_up_may_be_the_fault_of_its_documents(
    client: ErpnextClient, server: Server, name: str
) -> None:
    assert type(error_of(lambda: ask(client, server, name))) is RequestAbandoned


@pytest.mark.parametrize(
    "name",
    [
        "mariadb_down_get",  # by the kind alone, no different from a value that the database will not take
        "checkin_bad_time_text",
        "checkin_empty_time",
        "checkin_tz_Z",
        "no_traceback_bad_time",
        "insertmany_missing_docs",
    ],
)
def test_a_fault_inside_says_that_the_request_may_be_the_cause(
    client: ErpnextClient, server: Server, name: str
) -> None:
    assert type(error_of(lambda: ask(client, server, name))) is ServerError


@pytest.mark.parametrize("name", ["rate_limit_hit", "rate_limit_hit_post"])
def test_the_pause_that_a_rate_limit_names_is_kept(client: ErpnextClient, server: Server, name: str) -> None:
    error = error_of(lambda: ask(client, server, name))
    assert type(error) is TargetUnavailable
    assert error.retry_after == 57


@pytest.mark.parametrize("name", answered())
def test_success_is_told_from_error_by_the_status_whatever_the_body_has(
    client: ErpnextClient, server: Server, name: str
) -> None:
    response = recorded(name)["response"]
    if response["status"] < 300:
        assert ask(client, server, name) == response["body"]
    else:
        error = error_of(lambda: ask(client, server, name))
        changed_since = response["body"].get("exc_type") == "TimestampMismatchError"
        assert isinstance(error, RetriableError) == (
            response["status"] >= 500 or response["status"] == 429 or changed_since
        )


@pytest.mark.parametrize("name", [name for name in answered() if exception_type(name)])
def test_an_error_means_the_same_without_texts_and_tracebacks(client: ErpnextClient, server: Server, name: str) -> None:
    whole = answer_of(recorded(name))
    server.answers = [whole, Answer(whole.status, json.dumps({"exc_type": exception_type(name)}).encode())]
    assert type(error_of(lambda: client.call("GET", "/"))) is type(error_of(lambda: client.call("GET", "/")))


def test_a_message_is_for_people_without_tags(client: ErpnextClient, server: Server) -> None:
    message = str(error_of(lambda: ask(client, server, "checkin_duplicate_exact")))
    assert "already has a log with the same timestamp" in message
    assert "<" not in message


def test_an_error_inside_a_success_is_a_fault(client: ErpnextClient, server: Server) -> None:
    server.answers = [Answer(200, b'{"exc": "[\\"Traceback\\"]", "exc_type": "ValueError"}')]
    assert type(error_of(lambda: client.call("POST", "/"))) is ServerError


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(0, b""), id="closed without a word"),
        pytest.param(Answer(200, b""), id="empty"),
        pytest.param(Answer(200, b'{"message": [', cut=0), id="half an object"),
        pytest.param(Answer(200, b'{"message": []}', cut=5), id="closed midway"),
        pytest.param(Answer(200, b"[]"), id="no object"),
        pytest.param(Answer(200, b"<html>Sign in to the network</html>"), id="somebody else's page"),
        pytest.param(Answer(200, b'{"status": "ok"}'), id="somebody else's object"),
        pytest.param(Answer(200, b'{"message": null}'), id="nothing in it"),
        pytest.param(Answer(502, b"<html>Bad Gateway</html>"), id="bad gateway"),
        pytest.param(Answer(504, b""), id="gateway timeout"),
        pytest.param(Answer(500, b"<h1>Internal Server Error</h1>"), id="error page"),
    ],
)
def test_an_answer_that_is_none_never_counts_as_success(client: ErpnextClient, server: Server, answer: Answer) -> None:
    server.answers = [answer]
    assert type(error_of(lambda: client.get_list("Employee", ["name"]))) is RequestAbandoned


def test_the_rate_limit_of_a_proxy_is_unavailable(client: ErpnextClient, server: Server) -> None:
    server.answers = [Answer(429, b"")]
    assert type(error_of(lambda: client.get_list("Employee", ["name"]))) is TargetUnavailable


def test_a_proxy_may_name_the_pause_too(client: ErpnextClient, server: Server) -> None:
    soon = format_datetime(now() + timedelta(seconds=90), usegmt=True)
    pauses = ["7", soon, "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2099 07:28:00 GMT", "99999999", "later", ""]
    server.answers = [Answer(429, b"", {"Retry-After": pause}) for pause in pauses]
    errors = [error_of(client.logged_user) for _ in pauses]
    found = [error.retry_after for error in errors if isinstance(error, TargetUnavailable)]
    assert found == [7, pytest.approx(90, abs=20), 0, 3600, 3600, None, None]


def test_a_page_of_maintenance_may_name_an_hour_and_is_asked_again_within_seconds(
    client: ErpnextClient, server: Server
) -> None:
    server.answers = [Answer(503, b"", {"Retry-After": "3600"}), Answer(503, b"", {"Retry-After": "3"})]
    errors = [error_of(client.logged_user) for _ in range(2)]
    assert [error.retry_after for error in errors if isinstance(error, TargetUnavailable)] == [10, 3]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_named(client: ErpnextClient, server: Server, status: int) -> None:
    server.answers = [Answer(status, b"", {"Location": "https://erp.example.com/"})]
    error = error_of(lambda: client.insert({"doctype": CHECKIN}))
    assert type(error) is AccessDenied
    assert "https://erp.example.com/" in str(error)
    assert len(server.requests) == 1


def test_a_body_that_a_proxy_finds_too_large_is_rejected(client: ErpnextClient, server: Server) -> None:
    server.answers = [Answer(413, b"<html>Request Entity Too Large</html>")]
    error = error_of(lambda: client.insert_many([{"doctype": CHECKIN}]))
    assert type(error) is DocumentRejected
    assert error.status == 413


def test_a_site_that_does_not_answer_in_time_is_unavailable(server: Server) -> None:
    client = connect(server.url, timeout=0.1)
    server.answers = [None]
    assert type(error_of(client.logged_user)) is RequestAbandoned
    client.close()


def test_a_site_that_is_down_is_unavailable(server: Server) -> None:
    client = connect(server.url)
    server.stop()
    assert type(error_of(client.logged_user)) is TargetUnavailable
    client.close()


def test_a_client_that_was_closed_sends_nothing_more(client: ErpnextClient, server: Server) -> None:
    client.close()
    assert type(error_of(lambda: client.insert({"doctype": CHECKIN}))) is TargetUnavailable
    assert server.requests == []


def test_an_error_never_tells_the_credentials(client: ErpnextClient, server: Server) -> None:
    server.answers = [Answer(0, b""), Answer(401, b"{}"), Answer(500, b"{}")]
    for _ in range(3):
        message = str(error_of(client.logged_user))
        assert "secret" not in message


def test_requests_carry_the_credentials_and_json(client: ErpnextClient, server: Server) -> None:
    server.answers = [Answer(200, b'{"data": {"name": "CKIN-1"}}')]
    document = {"doctype": CHECKIN, "employee": "HR-EMP-00001", "time": "2026-03-01 08:00:00"}
    assert client.insert(document) == "CKIN-1"
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/resource/Employee%20Checkin")
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"key:secret").decode()
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == document


def test_a_list_is_asked_for_in_the_body_so_that_it_may_be_long(client: ErpnextClient, server: Server) -> None:
    server.answers = [answer_of(recorded("get_list_method_post"))]
    wanted = [f"{number}" for number in range(1000)]
    rows = client.get_list(
        "Employee",
        ["name", "attendance_device_id"],
        [("attendance_device_id", "in", wanted)],
        order_by="modified asc, name asc",
        start=500,
        limit=500,
    )
    assert [row["name"] for row in rows] == ["HR-EMP-00001", "HR-EMP-00002"]
    (request,) = server.requests
    assert request.path == "/api/method/frappe.client.get_list"
    assert json.loads(request.body) == {
        "doctype": "Employee",
        "fields": ["name", "attendance_device_id"],
        "filters": [["attendance_device_id", "in", wanted]],
        "order_by": "modified asc, name asc",
        "limit_start": 500,
        "limit_page_length": 500,
    }


def test_documents_are_counted_as_this_user_may_read_them(client: ErpnextClient, server: Server) -> None:
    give(server, {"message": 12})
    assert client.count("Employee") == 12
    assert server.requests[-1].path == "/api/method/frappe.desk.reportview.get_count"
    assert json.loads(server.requests[-1].body)["doctype"] == "Employee"


@pytest.mark.parametrize("answer", [{"message": []}, {"message": None}, {"message": "12"}, {}])
def test_a_count_that_is_none_is_not_trusted(client: ErpnextClient, server: Server, answer: dict[str, Any]) -> None:
    give(server, answer)
    with pytest.raises(TargetUnavailable):
        client.count("Employee")


def test_many_documents_return_their_names_in_order(client: ErpnextClient, server: Server) -> None:
    recording = recorded("insertmany_3_valid")
    server.answers = [answer_of(recording)]
    documents = recording["request"]["json"]["docs"]
    assert client.insert_many(documents) == recording["response"]["body"]["message"]
    assert json.loads(server.requests[0].body) == {"docs": documents}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("shift_type_set_last_sync", lambda c, body: c.update("Shift Type", "Day Shift", body)),
        ("checkin_unskip", lambda c, body: c.update(CHECKIN, "EMP-CKIN-11-2026-035648", body)),
        ("attendance_cancel", lambda c, _: c.cancel("Attendance", "HR-ATT-2026-01213")),
        (
            "shift_process_auto_attendance",
            lambda c, _: c.run_method("Shift Type", "Day Shift", "process_auto_attendance"),
        ),
    ],
)
def test_what_closes_and_repairs_a_day_is_asked_as_it_was_recorded(
    client: ErpnextClient, server: Server, name: str, call: Callable[[ErpnextClient, Any], Any]
) -> None:
    recording = recorded(name)
    server.answers = [answer_of(recording)]
    answer = call(client, recording["request"]["json"])
    [request] = server.requests
    assert (request.method, request.path) == (recording["request"]["method"], recording["request"]["path"])
    assert json.loads(request.body) == recording["request"]["json"]
    assert answer in (None, recording["response"]["body"].get("data"))


def test_one_document_is_read_whole(client: ErpnextClient, server: Server) -> None:
    recording = recorded("checkin_get_one")
    server.answers = [answer_of(recording)]
    name = recording["response"]["body"]["data"]["name"]
    assert client.get(CHECKIN, name) == recording["response"]["body"]["data"]
    assert server.requests[0].path == recording["request"]["path"]


def test_a_write_to_what_somebody_else_has_changed_is_for_another_try(client: ErpnextClient, server: Server) -> None:
    server.answers = [answer_of(recorded("checkin_put_stale"))]
    with pytest.raises(Conflict):
        client.update(CHECKIN, "EMP-CKIN-1", {"modified": "2020-01-01 00:00:00"})


def test_a_proxy_of_the_environment_is_used_unless_the_site_is_excepted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "near.example")
    give(server, "auth_good")
    far, near = connect("http://erp.example"), connect("http://near.example", timeout=1)
    assert far.logged_user() == "checkin-api@example.com"
    assert server.requests[0].path.startswith("http://erp.example/")
    # It is read once.
    monkeypatch.delenv("http_proxy")
    give(server, "auth_good")
    far.logged_user()
    monkeypatch.setenv("http_proxy", server.url)
    with pytest.raises(TargetUnavailable):
        near.logged_user()
    assert len(server.requests) == 2
    far.close()
    near.close()


def test_what_a_netrc_file_says_does_not_take_the_place_of_the_key(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    give(server, "auth_good")
    client = connect(server.url)
    client.logged_user()
    client.close()
    assert server.requests[0].headers["authorization"] == f"Basic {base64.b64encode(b'key:secret').decode()}"


def test_who_is_logged_in_and_the_zone_are_read(client: ErpnextClient, server: Server) -> None:
    server.answers = [answer_of(recorded("auth_good")), answer_of(recorded("system_settings_time_zone"))]
    assert client.logged_user() == "checkin-api@example.com"
    assert client.site_zone() == "Asia/Riyadh"
    assert server.requests[1].path == recorded("system_settings_time_zone")["request"]["path"]


def give(server: Server, *answers: str | dict[str, Any]) -> None:
    """Answer as in the recordings of these names, or with these objects."""
    server.answers = [
        answer_of(recorded(each)) if isinstance(each, str) else Answer(200, json.dumps(each).encode())
        for each in answers
    ]


def test_whether_there_is_an_event_id_field_is_found_by_using_it(client: ErpnextClient, server: Server) -> None:
    give(server, "event_id_lookup_post")
    assert client.has_event_id_field()
    give(server, "employee_list_bad_field")
    assert not client.has_event_id_field()
    assert server.answers == []


DESK = b"""<!DOCTYPE html><html><script>
\t\t\tfrappe.boot = {
 "notes": "\\"time_zone\\": {\\"system\\": \\"Asia/Tokyo\\"}",
 "sysdefaults": {"time_zone": "Asia/Kolkata"},
 "time_zone": {
  "system": "Asia/Riyadh",
  "user": "Asia/Kolkata"
 },
 "user_info": {"api@example.com": {"time_zone": "Asia/Kolkata"}}
};</script></html>"""
"""As ERPNext sends it, with a note of somebody who would like to be somewhere else."""


def page(body: bytes = DESK, status: int = 200, **headers: str) -> Answer:
    return Answer(status, body, headers)


def ask_the_desk(client: ErpnextClient, server: Server, *answers: Answer) -> str:
    server.answers = [answer_of(recorded("employee_list_no_permission")), *answers]
    return client.site_zone()


@pytest.mark.parametrize(
    "answers",
    [
        [page()],
        [page(b"", 301, Location="/desk"), page()],
        [page(b"x" * 3_000_000 + DESK)],
        # The parts in which it arrives divide what is looked for.
        [page(b"x" * (8192 - DESK.index(b'"system"') - 5) + DESK)],
    ],
)
def test_those_who_may_not_read_system_settings_are_told_the_sites_zone_by_the_desk(
    client: ErpnextClient, server: Server, answers: list[Answer]
) -> None:
    assert ask_the_desk(client, server, *answers) == "Asia/Riyadh"
    assert server.requests[1].path == "/app"
    assert not any("get_time_zone" in request.path for request in server.requests)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([page(b"<html>Welcome to our intranet</html>")], "a page without the data of ERPNext's desk"),
        ([page(b'{"time_zone": "Asia/Riyadh"}')], "a page without the data of ERPNext's desk"),
        ([page(b'"time_zone": {"system": null, "user": "Asia/Kolkata"}')], "a page without the data of ERPNext's desk"),
        ([page(b"", 301, Location="/login?redirect-to=%2Fapp")], "does a proxy drop the token"),
        ([page(b"", 302, Location="https://sso.example.com/app")], "does a proxy drop the token"),
        ([page(b"", 301, Location="/app/")] * 3, "redirects again and again"),
        ([page(b"", 403)], "403"),
        ([page(b"", 404)], "404"),
        ([page(b"", 500)], "500"),
        ([page(b"x" * 34_000_000)], "has no zone in its first"),
    ],
)
def test_where_the_site_does_not_say_its_zone_the_error_says_what_was_answered(
    client: ErpnextClient, server: Server, answers: list[Answer], said: str
) -> None:
    with pytest.raises(ZoneInDoubt, match=said):
        ask_the_desk(client, server, *answers)


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_desk_that_is_away_says_nothing_of_the_zone(client: ErpnextClient, server: Server, status: int) -> None:
    with pytest.raises(TargetUnavailable):
        ask_the_desk(client, server, page(b"", status))


def test_system_settings_without_a_zone_leave_it_to_the_desk(client: ErpnextClient, server: Server) -> None:
    give(server, {"message": {"time_zone": None}})
    server.answers.append(page())
    assert client.site_zone() == "Asia/Riyadh"


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Thu, 01 Jan 2026 09:00:20 GMT", timedelta(minutes=20)),
        ("Thu, 01 Jan 2026 07:40:20 GMT", timedelta(hours=-1)),
        ("yesterday", timedelta()),
        ("", timedelta()),
    ],
)
def test_the_clock_of_the_site_is_that_of_its_answers(
    client: ErpnextClient, server: Server, monkeypatch: pytest.MonkeyPatch, date: str, ahead: timedelta
) -> None:
    monkeypatch.setattr("attendance.erpnext.now", lambda: datetime(2026, 1, 1, 8, 40, 20, tzinfo=UTC))
    monkeypatch.setattr(server, "date", date)
    server.answers = [Answer(200, b'{"message": []}')]
    client.get_list(CHECKIN, ["name"])
    assert client.clock_ahead == ahead
