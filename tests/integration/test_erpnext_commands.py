import threading
import time
from collections.abc import Iterator

import orjson
import pytest
import uvicorn
from click.testing import Result
from typer.testing import CliRunner

from attendance.erpnext import ErpnextClient
from attendance.errors import AccessDenied
from attendance.settings import ErpnextSettings
from punchstream.commands import erpnext
from sandbox.erpnext.app import create_app
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN, HR_USER, NO_ROLE_USER, User
from sandbox.ports import free_port


@pytest.fixture
def url() -> Iterator[str]:
    """Where the ERPNext stand-in answers."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(Site()), host="127.0.0.1", port=port, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


class LogIn:
    """Runs the commands with the credentials of one user or another."""

    def __init__(self, url: str, environment: pytest.MonkeyPatch) -> None:
        self._url = url
        self._environment = environment

    def __call__(self, user: User, *command: str) -> Result:
        self._environment.setenv("ERPNEXT_URL", self._url)
        self._environment.setenv("ERPNEXT_API_KEY", user.api_key)
        self._environment.setenv("ERPNEXT_API_SECRET", user.api_secret)
        return CliRunner().invoke(erpnext.app, command)


@pytest.fixture
def log_in(url: str, monkeypatch: pytest.MonkeyPatch) -> LogIn:
    return LogIn(url, monkeypatch)


def states(result: Result) -> dict[str, str]:
    return {check["name"]: check["state"] for check in orjson.loads(result.stdout)}


def test_a_site_is_made_ready_by_a_system_manager_and_only_once(log_in: LogIn) -> None:
    refused = log_in(HR_USER, "setup").exception
    assert isinstance(refused, AccessDenied)
    assert "System Manager" in str(refused)
    assert "was created" in log_in(ADMIN, "setup").stdout
    assert "was there already" in log_in(ADMIN, "setup").stdout
    assert "was there already" in log_in(HR_USER, "setup").stdout


def test_the_checks_find_what_setup_mends_and_store_nothing(log_in: LogIn, url: str) -> None:
    before = log_in(HR_USER, "check", "--json")
    assert before.exit_code == 1
    assert [name for name, state in states(before).items() if state == "failed"] == ["event_id field"]
    log_in(ADMIN, "setup")
    for user in (ADMIN, HR_USER):
        after = log_in(user, "check", "--json")
        assert (after.exit_code, "failed" in states(after).values()) == (0, False)
    client = ErpnextClient(ErpnextSettings.load(url=url, api_key=ADMIN.api_key, api_secret=ADMIN.api_secret))
    assert client.get_list("Employee Checkin", ["name"]) == []
    client.close()


def test_the_right_to_write_is_tried_without_writing(log_in: LogIn, url: str) -> None:
    client = ErpnextClient(ErpnextSettings.load(url=url, api_key=HR_USER.api_key, api_secret=HR_USER.api_secret))
    name = client.insert({"doctype": "Employee Checkin", "employee": "E1", "time": "2026-03-02 08:00:00"})
    before = client.get("Employee Checkin", name), client.get("Shift Type", "Day Shift")

    details = {check["name"]: check["detail"] for check in orjson.loads(log_in(HR_USER, "check", "--json").stdout)}

    assert (details["corrections"], details["shift types"]) == ("may be read and written",) * 2
    assert (client.get("Employee Checkin", name), client.get("Shift Type", "Day Shift")) == before
    client.close()


def test_the_checks_tell_a_missing_permission_from_wrong_credentials(log_in: LogIn) -> None:
    without_roles = states(log_in(NO_ROLE_USER, "check", "--json"))
    assert without_roles["credentials"] == "ok"
    for name in ("employees", "check-ins", "corrections", "shift types"):
        assert without_roles[name] == "failed"
    stranger = User("", "wrong-key", "wrong-secret", frozenset())
    assert states(log_in(stranger, "check", "--json")) == {"reachable": "ok", "credentials": "failed"}
