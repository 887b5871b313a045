"""The stand-in against recordings of a real ERPNext: asked the same, it answers the same."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI

from sandbox.erpnext.app import create_app
from sandbox.erpnext.doctypes import (
    ATTENDANCE,
    BIOMETRIC_DEVICE,
    BIOMETRIC_USER_MAP,
    CUSTOM_FIELD,
    EMPLOYEE,
    SHIFT_SETTINGS,
    SHIFT_TYPE,
)
from sandbox.erpnext.knobs import Knobs
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN, GUEST, HR_CLERK, HR_USER, NO_ROLE_USER, SYNC_USER, User
from tests.support.second_site import CASES, second_site

RECORDINGS = {
    path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "erpnext_recordings").iterdir()
}

NOT_COVERED = {
    "client_timeout_commits": "no answer was recorded; test_erpnext_stand_in_server.py does the same",
    "immediate_retry_doubles_batch": "counts, not an answer; test_erpnext_stand_in_http.py does the same",
    "worker_killed_midway": "no answer; test_erpnext_stand_in_server.py kills the server in a transaction",
    "gunicorn_down": "no server, so no answer",
    "series_lock_convoy": "seconds, not an answer; the stand-in's transactions do not wait for one another",
    "wrong_host": "the stand-in is one site, and serves whatever host it is called",
}

# Checksums of stamps that the recording does not show.
OF_UNKNOWN_STAMPS = {"employees_checksum": {"x", "c"}}

Document = dict[str, Any]

EVENT_ID_FIELD = {
    "dt": "Employee Checkin",
    "fieldname": "event_id",
    "label": "Event ID",
    "fieldtype": "Data",
    "unique": 1,
    "read_only": 1,
    "no_copy": 1,
    "insert_after": "device_id",
}


class Clock:
    """Site time in +03:00 that goes on by a millisecond whenever it is read: no two documents have one stamp."""

    def __init__(self) -> None:
        self.set("2026-11-22 18:52:32.118442")

    def set(self, text: str) -> None:
        self._now = datetime.fromisoformat(f"{text}+03:00").astimezone(UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now


@dataclass(frozen=True)
class State:
    """What a case finds at the site: the check-ins that are there, and how it is set up.

    Its field `event_id` may have been deleted again, its zone changed, and its employees be so many (who have a
    date of joining then), or on no shift. Of the employee whose day was repaired, that day is over and marked
    Absent where `absent` is set; the check-ins come after that. `before` names the recorded requests that go
    before. `documents` are others by doctype, as they are stored.
    """

    checkins: tuple[Document, ...] = ()
    event_id_field: bool = False
    field_deleted: bool = False
    time_zone: str = "Asia/Riyadh"
    employees: int | None = None
    on_shift: bool = True
    absent: bool = False
    before: tuple[str, ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    sender: User = ADMIN
    documents: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)


def checkin(employee: str, time: str | None, log_type: str | None = "IN", **more: Any) -> Document:
    punch = {"employee": employee, "time": time, "device_id": "DEV-1", **more}
    return punch if log_type is None else {**punch, "log_type": log_type}


def rows_of(body: Document) -> tuple[list[Document], int]:
    """The rows of a list that are shown, and how many there are in all."""
    [rows] = body.values()
    match = re.fullmatch(r"… (\d+) more", rows[-1]) if rows and isinstance(rows[-1], str) else None
    return (rows[:-1], len(rows) - 1 + int(match[1])) if match else (rows, len(rows))


def recorded_rows(case: str) -> tuple[Document, ...]:
    """The rows that a recorded list shows, to be found again."""
    body = RECORDINGS[case]["response"]["body"]
    return tuple({"employee": "HR-EMP-00001", "time": "2020-01-01 00:00:00", **row} for row in rows_of(body)[0])


def batch(time: str, size: int) -> list[Document]:
    return [checkin(f"HR-EMP-{n + 1:05}", time, doctype="Employee Checkin") for n in range(size)]


FIRST = checkin("HR-EMP-00001", "2026-11-01 08:00:00")
NOON = checkin("HR-EMP-00001", "2026-11-01 12:00:00", None)
MONTH = checkin("HR-EMP-00020", "2026-10-02 08:00:00", name="EMP-CKIN-11-2026-000035")
NAMED = checkin("HR-EMP-00004", "2026-11-01 08:31:00", name="EMP-CKIN-11-2026-000029")
GERMAN = checkin("HR-EMP-00060", "2012-09-01 08:00:00")
OWN_NAME = checkin("HR-EMP-00050", "2012-08-01 08:00:00", name="CK-v2-1")
AUGUST = checkin("HR-EMP-00040", "2026-08-01 08:00:00")
EVENTS = tuple(
    checkin(f"HR-EMP-000{20 + number}", "2026-09-05 08:00:00", event_id=f"x{number}") for number in range(1, 4)
)
SKIPPED = checkin(
    "HR-EMP-00006",
    "2026-11-17 17:03:00",
    "OUT",
    name="EMP-CKIN-11-2026-035648",
    device_id="DEV-A",
    event_id="L6o1795367113.2608385",
    skip_auto_attendance=1,
)
LATE = (checkin("HR-EMP-00006", "2026-11-17 08:03:00", device_id="DEV-A"), SKIPPED)
DEVICE = tuple(checkin("HR-EMP-00700", f"2026-01-01 08:{n // 60:02}:{n % 60:02}") for n in range(241))
OTHERS = tuple(
    checkin("HR-EMP-00021", f"2026-10-{day:02} 08:00:00", name=f"EMP-CKIN-11-2026-001{day:03}") for day in range(2, 11)
)
NO_TRACEBACK = {"allow_error_traceback": False}
MAINTENANCE = State(knobs={"maintenance": "on"})
READ_ONLY = State(knobs={"maintenance": "read_only"})
DATABASE_DOWN = State(knobs={"database_down": True})
LIMITED = State(knobs={"rate_limit": {"remaining": 0, "retry_after": 57}})
LOCKED = State(knobs={"faults": [{"action": "status", "exc_type": "QueryTimeoutError"}]})
NO_ROLE = State(sender=NO_ROLE_USER)

TRIAL = State(event_id_field=True, on_shift=False, sender=HR_CLERK)
TRIAL_WITHOUT_UNIQUE = State(on_shift=False, sender=HR_CLERK)
WITHOUT_FIELD = State(event_id_field=True, field_deleted=True, on_shift=False, sender=HR_CLERK)
IN_TOKYO = State(time_zone="Asia/Tokyo", event_id_field=True, on_shift=False, sender=HR_CLERK)
FEW = State(employees=37, sender=HR_CLERK)

DESK = State(
    knobs={"desk": True},
    sender=SYNC_USER,
    documents={
        BIOMETRIC_USER_MAP: tuple(RECORDINGS["desk_user_map"]["response"]["body"]["message"]),
        BIOMETRIC_DEVICE: tuple(RECORDINGS["desk_devices"]["response"]["body"]["message"]),
        SHIFT_SETTINGS: tuple(
            {"name": each["shift_type"], **each} for each in RECORDINGS["desk_shifts"]["response"]["body"]["message"]
        ),
    },
)

# Every other case finds the site as it is: its employees, and no check-in.
STATES = {
    "checkin_duplicate_exact": State((FIRST,)),
    "checkin_duplicate_other_device": State((FIRST,)),
    "checkin_same_time_other_log_type": State((FIRST,)),
    "checkin_same_time_no_log_type": State((FIRST,)),
    "checkin_dup_no_log_type": State((NOON,)),
    "checkin_dup_empty_log_type": State((NOON,)),
    "checkin_duplicate_accept_language": State((GERMAN,)),
    "checkin_duplicate_lang_ar": State((GERMAN,)),
    "checkin_duplicate_lang_de": State((GERMAN,)),
    "checkin_duplicate_lang_fr": State((GERMAN,)),
    "checkin_duplicate_site_language_de": State(
        (checkin("HR-EMP-00061", "2012-09-02 08:00:00"),), knobs={"language": "de"}
    ),
    "checkin_missing_employee_site_language_de": State(knobs={"language": "de"}),
    "checkin_microseconds_dup": State((checkin("HR-EMP-00002", "2026-11-02 08:10:00.123456"),)),
    "checkin_null_time": State((checkin("HR-EMP-00002", None),)),
    "checkin_client_name_dup": State((checkin("HR-EMP-00003", "2026-11-01 08:08:00", name="CK-my-own-id-1"),)),
    "checkin_client_name_other_name_same_punch": State((OWN_NAME,)),
    "insertmany_ignore_dup_flag": State((OWN_NAME,)),
    "insertmany_dup_of_stored": State((MONTH,)),
    "client_timeout_retry": State((checkin("HR-EMP-00001", "2026-08-05 08:00:00"),)),
    "checkin_get_one": State((NAMED,)),
    "checkin_put": State((NAMED,)),
    "checkin_put_stale": State((NAMED,)),
    "checkin_delete": State((NAMED,)),
    "checkin_unskip": State((SKIPPED,), event_id_field=True),
    "shift_process_auto_attendance": State(absent=True),
    "attendance_find": State(absent=True),
    "attendance_cancel": State(LATE, event_id_field=True, absent=True),
    "attendance_after_repair": State(
        LATE,
        event_id_field=True,
        absent=True,
        before=("attendance_cancel", "checkin_unskip", "shift_process_auto_attendance"),
    ),
    "checkin_count_method": State((*DEVICE, checkin("HR-EMP-00001", "2026-01-02 08:00:00", device_id="DEV-2"))),
    "checkin_list_by_device": State((*recorded_rows("checkin_list_by_device"), *DEVICE)),
    "checkin_list_by_employee_time": State((*recorded_rows("checkin_list_by_employee_time"), FIRST)),
    "checkin_list_employee_in_time_ge": State((*recorded_rows("checkin_list_employee_in_time_ge"), *OTHERS, FIRST)),
    "checkin_list_time_exact": State((MONTH, checkin("HR-EMP-00020", "2026-10-03 08:00:00"))),
    "v1_alias": State((FIRST, NOON)),
    "event_id_field_again": State(event_id_field=True),
    "event_id_field_lookup": State(event_id_field=True),
    "event_id_lookup_post": State(EVENTS, event_id_field=True),
    "event_id_many_new": State(EVENTS[:1], event_id_field=True),
    "event_id_many_one_known": State(EVENTS, event_id_field=True),
    "event_id_single_new": State(event_id_field=True),
    "event_id_single_same_id_other_time": State(EVENTS[:1], event_id_field=True),
    "event_id_single_same_punch": State(EVENTS[:1], event_id_field=True),
    "no_traceback_auth_bad": State(knobs=NO_TRACEBACK),
    "no_traceback_bad_time": State(knobs=NO_TRACEBACK),
    "no_traceback_duplicate": State((AUGUST,), knobs=NO_TRACEBACK),
    "no_traceback_missing_employee": State(knobs=NO_TRACEBACK),
    "maintenance_bad_token": MAINTENANCE,
    "maintenance_get": MAINTENANCE,
    "maintenance_ping": MAINTENANCE,
    "maintenance_post": MAINTENANCE,
    "maintenance_reads_allowed_get": READ_ONLY,
    "maintenance_reads_allowed_post": READ_ONLY,
    "mariadb_down_get": DATABASE_DOWN,
    "mariadb_down_post": DATABASE_DOWN,
    "rate_limit_ok": State(knobs={"rate_limit": {"remaining": 1000000, "retry_after": 59}}),
    "rate_limit_hit": LIMITED,
    "rate_limit_hit_post": LIMITED,
    "lock_wait_timeout_post": LOCKED,
    "checkin_no_permission": NO_ROLE,
    "employee_list_no_permission": NO_ROLE,
    "insertmany_no_permission": NO_ROLE,
    "zone_app_boot": IN_TOKYO,
    "zone_of_user": IN_TOKYO,
    "zone_checkin_creation": IN_TOKYO,
    "zone_login_page": State(time_zone="Asia/Tokyo", sender=GUEST),
    "zone_of_guest": State(sender=GUEST),
    "zone_app_guest": State(sender=GUEST),
    "zone_app_website_user": NO_ROLE,
    "system_settings_hr_user": State(sender=HR_CLERK),
    "employee_count_client": FEW,
    "employee_count_reportview": FEW,
    "employees_of_batch": FEW,
    "employee_rename": State(sender=HR_CLERK),
    "employee_merge": State(sender=HR_CLERK),
    "employee_delete_linked": State(
        (checkin("HR-EMP-00036", "2026-11-10 08:00:00", name="EMP-CKIN-11-2026-000006"),), sender=HR_CLERK
    ),
    "no_field_single": WITHOUT_FIELD,
    "no_field_lookup": WITHOUT_FIELD,
    "no_field_lookup_fields": WITHOUT_FIELD,
    "trial_no_field_bad_log_type": WITHOUT_FIELD,
    "trial_empty_table_ghost": TRIAL,
    **{case: TRIAL for case in RECORDINGS if case.startswith("trial_unique_")},
    **{case: TRIAL_WITHOUT_UNIQUE for case in RECORDINGS if case.startswith("trial_not_unique_")},
    "meta_checkin": State(event_id_field=True, sender=HR_CLERK),
    "checkin_begins_cancelled": State(sender=HR_CLERK),
    "checkin_begins_cancelled_no_permission": NO_ROLE,
    "server_script_list": State(sender=HR_CLERK),
    **{case: DESK for case in RECORDINGS if case.startswith("desk_")},
    **{case: replace(DESK, event_id_field=True) for case in RECORDINGS if case.startswith("desk_ingest_")},
    "desk_ingest_no_role": replace(DESK, event_id_field=True, sender=NO_ROLE_USER),
    "desk_version": replace(DESK, sender=HR_CLERK),
    "desk_user_map_no_role": replace(DESK, sender=NO_ROLE_USER),
    "desk_write_live_no_role": replace(DESK, sender=HR_CLERK),
    "desk_shifts_no_role": replace(DESK, sender=HR_USER),
    "desk_not_installed_version": State(sender=HR_CLERK),
    "desk_not_installed_list": State(sender=HR_CLERK),
    "checkin_hr_user_role": State(sender=HR_USER),
    "checkin_client_name_hrmanager_hr_user": State(sender=HR_USER),
}

# Bodies of which the recording shows only the beginning, or nothing.
WHOLE_BODIES: dict[str, str | Document] = {
    "checkin_broken_json_body": '{"employee": x',
    "client_timeout_retry": {"docs": batch("2026-08-05 08:00:00", 200)},
    "insertmany_200": {"docs": batch("2026-10-08 08:00:00", 200)},
    "insertmany_201": {"docs": batch("2026-10-09 08:00:00", 201)},
    "rate_limit_ok": {
        "docs": [checkin("HR-EMP-00040", f"2026-08-02 08:{n:02}:00", doctype="Employee Checkin") for n in range(60)]
    },
    "get_list_post_in_700": {
        "doctype": "Employee",
        "fields": ["name"],
        "filters": [["attendance_device_id", "in", [str(1001 + n) for n in range(700)]]],
        "limit_page_length": 0,
    },
}

# The text is that of the library which failed; the exception is told by its name.
LIBRARY_ERRORS = ("dateutil.parser._parser.ParserError", "json.decoder.JSONDecodeError")
# The rest vary from answer to answer, or belong to the connection.
COMPARED_HEADERS = ("content-type", "retry-after")
RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


def recorded_site(employed: int = 1000, *, on_shift: int = 500) -> Site:
    """The site of the recordings: a thousand people at work, half of them on a shift, and six who are not."""
    clock = Clock()
    site = Site(clock=clock)
    site.put_employees(
        {
            "name": f"HR-EMP-{number:05}",
            "employee_name": f"Worker{1000 + number} Test",
            "attendance_device_id": str(1000 + number),
            "default_shift": "Day Shift" if number <= on_shift else None,
            "date_of_joining": "2024-01-01" if employed < 1000 else None,
        }
        for number in range(1, employed + 1)
    )
    if employed < 1000:
        return site
    clock.set("2026-11-22 19:03:47.911882")
    statuses = ("Left", "Left", "Left", "Inactive", "Inactive", "Suspended")
    site.put_employees(
        {
            "name": f"HR-EMP-{1000 + number:05}",
            "employee_name": f"Ex{3000 + number}",
            "attendance_device_id": str(3000 + number),
            "status": status,
        }
        for number, status in enumerate(statuses, start=1)
    )
    clock.set("2026-11-22 19:06:50.000000")
    return site


def mark_absent(site: Site) -> None:
    """Of all who are on the day shift one was employed by the day that is over; others were marked before it."""
    earlier = {"employee": "HR-EMP-00001", "attendance_date": "2026-11-16", "docstatus": 2}
    row = dict.fromkeys(site.attendances.fields) | earlier | {"name": "HR-ATT-2026-01212"}
    site.commit([(ATTENDANCE, "HR-ATT-2026-01212", row)])
    site.update(ADMIN, EMPLOYEE, "HR-EMP-00006", {"date_of_joining": "2026-11-17"})
    over = {"process_attendance_after": "2026-11-15", "last_sync_of_checkin": "2026-11-18 12:00:00"}
    shift = site.shift_types.rows["Day Shift"] | over | {"modified_by": ADMIN.name}
    site.commit([(SHIFT_TYPE, "Day Shift", shift)])
    site.process_auto_attendance(ADMIN, "Day Shift")


def prepared(state: State) -> FastAPI:
    site = recorded_site(state.employees or 1000, on_shift=500 if state.on_shift else 0)
    site.set_time_zone(state.time_zone)
    if state.absent:
        mark_absent(site)
    if state.event_id_field:
        site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    if state.field_deleted:
        site.delete(ADMIN, CUSTOM_FIELD, "Employee Checkin-event_id")
    for document in state.checkins:
        transaction = site.begin(ADMIN)
        transaction.insert(document, keep_name=True)
        transaction.commit()
    app = create_app(site, Knobs.model_validate(state.knobs))
    for doctype, rows in state.documents.items():
        site.put(doctype, rows)
    for case in state.before:
        send(app, case).raise_for_status()
    return app


def authorization(request: Document, sender: User) -> str | None:
    """The header as it was sent; the secrets were taken out of the recording, and of some requests the whole header."""
    if sender is GUEST:
        return None
    headers = request["headers"]
    if "authorization" in headers:
        key, _, secret = headers["authorization"].partition("REDACTED:")
        if not secret:
            return str(headers["authorization"])
        return f"{key}{sender.api_key}:{secret.replace('REDACTED', sender.api_secret)}"
    return None if "accept" in headers else f"token {sender.api_key}:{sender.api_secret}"


def send(app: FastAPI, case: str, sender: User | None = None) -> httpx.Response:
    """The request of a recording."""
    request = RECORDINGS[case]["request"]
    sender = sender or STATES.get(case, State()).sender
    header = authorization(request, sender)
    body = WHOLE_BODIES.get(case, request["json"])
    content = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    if request["form"]:
        content = urlencode(request["form"])
    headers = {"content-type": "application/json"} | request["headers"] | ({"authorization": header} if header else {})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://erp.example.com") as client:
            path = request["path"] or "/api/resource/Employee%20Checkin"
            return await client.request(request["method"] or "POST", path, headers=headers, content=content)

    return asyncio.run(ask())


def cut_like(shown: Any, whole: Any) -> Any:
    """What is shown of the whole, where a recording leaves out keys."""
    if isinstance(shown, Mapping) and isinstance(whole, Mapping):
        return {key: cut_like(shown[key], whole.get(key)) for key in shown}
    if isinstance(shown, list) and isinstance(whole, list) and len(shown) == len(whole):
        return [cut_like(*pair) for pair in zip(shown, whole, strict=True)]
    return whole


def without(keys: set[str], rows: list[Any]) -> list[Any]:
    """The rows, with nothing but the kind of these values."""
    return [{key: type(row[key]) if key in keys else row[key] for key in row} for row in rows] if keys else rows


def comparable(value: Any) -> Any:
    """The value without what differs from answer to answer: names of a series, stamps, tracebacks."""
    if isinstance(value, Mapping):
        return {key: comparable(opened(key, each)) for key, each in value.items()}
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, str):
        value = re.sub(r"HR-ATT-\d{4}-\d{5}|EMP-CKIN-\d\d-\d{4}-\d{6}", "SERIES", value)
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", "STAMP", value)
    return value


def opened(key: str, value: Any) -> Any:
    """What is JSON inside, read; and of texts, the part that counts."""
    if key == "_server_messages":
        return [json.loads(each) for each in json.loads(value)]
    if key == "exc":
        return ["Traceback" in each for each in json.loads(value)]
    if key == "exception":
        name = value.partition(":")[0]
        # The database's own name is in it.
        return name if name in LIBRARY_ERRORS else re.sub(r"`_[0-9a-f]{16}`\.", "", value)
    return value


def test_every_recording_is_replayed_or_listed_with_its_reason() -> None:
    assert set(NOT_COVERED) < set(RECORDINGS)
    without_answer = {case for case, recording in RECORDINGS.items() if not recording.get("response")}
    assert without_answer <= set(NOT_COVERED)
    assert (STATES.keys() | WHOLE_BODIES.keys()) <= set(RECORDINGS) - set(NOT_COVERED)


@pytest.mark.parametrize(
    "case",
    sorted(set(RECORDINGS) - set(NOT_COVERED) - set(CASES)),
)
def test_the_answer_is_that_of_the_recording(case: str) -> None:
    check(case, send(prepared(STATES.get(case, State())), case))


@pytest.mark.parametrize("case", sorted(CASES))
def test_an_hr_user_is_answered_as_in_the_recording_of_the_second_site(case: str) -> None:
    site, found = second_site(), CASES[case]
    for prepare in found.before:
        prepare(site)
    check(case, send(create_app(site, Knobs.model_validate(found.knobs)), case, found.sender))


def check(case: str, response: httpx.Response) -> None:
    """The answer is that of the recording."""
    expected = RECORDINGS[case]["response"]
    assert response.status_code == expected["status"], response.text
    for name in COMPARED_HEADERS:
        assert response.headers.get(name) == expected["headers"].get(name), name
    for name in RATE_HEADERS:
        assert (name in response.headers) == (name in expected["headers"]), name
    if expected["body"] is None and expected["headers"]["content-type"] == "text/html":
        assert response.text == expected["text"]
    elif expected["body"] is None and expected["headers"]["content-type"].startswith("text/html"):
        # Of a page the recording shows what counts.
        assert all(part.strip() in response.text for part in expected["text"].split("…"))
        assert response.headers.get("location") == expected["headers"].get("location")
    elif expected["body"] is None:
        shown = re.match(r'{"exception":"([^:]+):[^"]*","exc_type":"(\w+)","exc":"', expected["text"])
        assert shown is not None
        assert (response.json()["exception"].partition(":")[0], response.json()["exc_type"]) == shown.groups()
        assert response.json().keys() == {"exception", "exc_type", "exc"}
    elif isinstance(next(iter(expected["body"].values()), None), list):
        shown_rows, total = rows_of(expected["body"])
        rows, count = rows_of(response.json())
        assert response.json().keys() == expected["body"].keys()
        assert count == total
        rows = rows[: len(shown_rows)]
        if (RECORDINGS[case]["note"] or "").startswith("cut to what"):
            rows = cut_like(shown_rows, rows)
        unknown = OF_UNKNOWN_STAMPS.get(case, set())
        assert comparable(without(unknown, rows)) == comparable(without(unknown, shown_rows))
    else:
        assert comparable(response.json()) == comparable(expected["body"])
