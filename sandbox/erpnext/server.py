"""The stand-in as a child process, for demonstrations and tests."""

import sys
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import structlog

from sandbox.erpnext.users import ADMIN, HR_CLERK, HR_USER
from sandbox.ports import free_port
from sandbox.process import ChildProcess

log = structlog.get_logger(__name__)

_START_SECONDS = 60.0
_ANSWER_SECONDS = 1.0
_CALL_SECONDS = 30.0


class ErpnextStandIn:
    """An ERPNext stand-in on 127.0.0.1, in a process of its own. Not safe for use by several threads at once.

    As a context manager it runs from entry to exit. `api_key` and `api_secret` are those of a user with the roles HR
    Manager and System Manager, `hr_key` and `hr_secret` of one who is HR Manager only, `clerk_key` and `clerk_secret`
    of one who is HR User only.
    """

    api_key = ADMIN.api_key
    api_secret = ADMIN.api_secret
    hr_key = HR_USER.api_key
    hr_secret = HR_USER.api_secret
    hr_name = HR_USER.name
    clerk_key = HR_CLERK.api_key
    clerk_secret = HR_CLERK.api_secret
    clerk_name = HR_CLERK.name

    def __init__(
        self,
        *,
        log_file: Path,
        journal: Path | None = None,
        port: int | None = None,
        employee_count: int = 0,
        time_zone: str = "Asia/Riyadh",
        latency_ms: float = 0,
        latency_per_document_ms: float = 0,
    ) -> None:
        """Nothing is started yet.

        Args:
            log_file: Gets the output of the process.
            journal: Keeps what was committed for the next start; without it each start is an empty site.
            port: To listen on, the same for every start; a free one by default.
            employee_count: Sample employees to begin with: HR-EMP-00001 with device user 1001, and so on.
            time_zone: The site's IANA zone.
            latency_ms: Before each request.
            latency_per_document_ms: For each document inserted.
        """
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            *(sys.executable, "-m", "sandbox.erpnext", "--port", str(self.port)),
            *("--employees", str(employee_count), "--time-zone", time_zone),
            *("--latency-ms", str(latency_ms), "--latency-per-document-ms", str(latency_per_document_ms)),
            *(("--journal", str(journal)) if journal else ()),
        ]
        self.process = ChildProcess(command, log_file=log_file)
        self._http = self._client()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; returns when it answers.

        Raises:
            ProcessFailed: It ended or did not answer in time; nothing is left running.
        """
        self.process.start()
        try:
            self.process.wait_until_ready(self._answers, timeout=_START_SECONDS)
        except BaseException:
            self.process.kill()
            raise
        log.info("ERPNext stand-in started.", url=self.url)

    def stop(self) -> None:
        """End it in good order. Does nothing when it is not running."""
        self._disconnect()
        self.process.stop()

    def kill(self) -> None:
        """End it by SIGKILL: a server that crashes."""
        self.process.kill()
        self._disconnect()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): a server that hangs, with its connections open."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.process.resume()

    def knobs(self, **changes: Any) -> dict[str, Any]:
        """Turn the knobs that are named (see `sandbox.erpnext.knobs.Knobs`), and return them all."""
        return dict(self._call("PUT", "/sandbox/knobs", changes).json())

    def employees(self, employees: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace employees, and return their names. Every field may be left out."""
        return list(self._call("POST", "/sandbox/employees", list(employees)).json())

    def shift_types(self, shift_types: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace shift types, and return their names. What is left out is as on the day shift.

        An employee is on a shift by `default_shift`, and can be Absent from `date_of_joining` on, or else from the day
        on which it was created.
        """
        return list(self._call("POST", "/sandbox/shift_types", list(shift_types)).json())

    def rename_employee(self, old: str, new: str, *, merge: bool = False) -> None:
        """Rename an employee as HR does, or merge it into another; its documents go along."""
        body = {"doctype": "Employee", "old_name": old, "new_name": new, "merge": int(merge)}
        self._call_api("POST", "/api/method/frappe.client.rename_doc", body)

    def delete_employee(self, name: str) -> None:
        """Delete an employee as HR does, which ERPNext refuses where documents lead to it."""
        self._call_api("DELETE", f"/api/resource/Employee/{name}")

    def put(self, doctype: str, *rows: Mapping[str, Any]) -> list[str]:
        """Create or replace documents of any doctype without any check, and return their names.

        So a site gets Leave Applications, Holiday Lists (`holidays` is a list of `{"holiday_date": …}`), Salary Slips
        and settings. What is left out is empty, or as it was.
        """
        return list(self._call("POST", f"/sandbox/documents/{doctype}", list(rows)).json())

    def remove(self, doctype: str, name: str) -> None:
        """Delete a document whatever leads to it, as from the database."""
        self._call("DELETE", f"/sandbox/documents/{doctype}/{name}")

    def series(self, doctype: str, current: int) -> None:
        """Let the doctype's naming series have given that number last, as after a restore."""
        self._call("POST", "/sandbox/series", {"doctype": doctype, "current": current})

    def hourly(self) -> None:
        """Let the scheduler's hour come: `last_sync_of_checkin` moves where `auto_update_last_sync` is set."""
        self._call("POST", "/sandbox/hourly")

    def geolocation(self, *, wanted: bool) -> None:
        """Let HR Settings want coordinates with each check-in, or not."""
        self.put("HR Settings", {"name": "HR Settings", "allow_geolocation_tracking": int(wanted)})

    def time_zone(self, time_zone: str, user: str | None = None) -> None:
        """Change the site's zone, or that of one user alone (by `hr_name`, say). What is stored stays as it is."""
        self._call("POST", "/sandbox/time_zone", {"time_zone": time_zone} | ({"user": user} if user else {}))

    def attendance(self) -> list[dict[str, Any]]:
        """All Attendance that it has made, cancelled ones (`docstatus` 2) too, in that order."""
        return [orjson.loads(line) for line in self._call("GET", "/sandbox/attendance").content.splitlines()]

    def checkins(self, *, since: str = "") -> list[dict[str, Any]]:
        """The check-ins it has, as they were stored; only those created at or after that time of the site's."""
        answer = self._call("GET", f"/sandbox/checkins?since={since}")
        return [orjson.loads(line) for line in answer.content.splitlines()]

    def stats(self) -> dict[str, Any]:
        """Requests by endpoint and status, and how many documents were inserted."""
        return dict(self._call("GET", "/sandbox/stats").json())

    def reset(self) -> None:
        """Forget everything, and turn all knobs back."""
        self._call("POST", "/sandbox/reset")

    def _call(self, method: str, path: str, content: object = None) -> httpx.Response:
        return self._http.request(method, path, json=content).raise_for_status()

    def _call_api(self, method: str, path: str, content: object = None) -> httpx.Response:
        headers = {"Authorization": f"token {self.api_key}:{self.api_secret}"}
        return self._http.request(method, path, json=content, headers=headers).raise_for_status()

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=_CALL_SECONDS, trust_env=False)

    def _disconnect(self) -> None:
        self._http.close()
        self._http = self._client()

    def _answers(self) -> bool:
        try:
            return self._http.get("/sandbox/stats", timeout=_ANSWER_SECONDS).status_code == HTTPStatus.OK
        except httpx.TransportError:
            return False
