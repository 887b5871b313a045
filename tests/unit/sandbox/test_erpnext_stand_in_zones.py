import json
import re
from typing import Any

import pytest

from sandbox.erpnext.users import ADMIN, GUEST, HR_CLERK, HR_USER, NO_ROLE_USER, User
from tests.support.stand_in import Api

TIME_ZONE = "/api/method/frappe.client.get_time_zone"
SYSTEM_SETTINGS = "/api/method/frappe.client.get_value?doctype=System+Settings&fieldname=time_zone"
SETTINGS = "/api/resource/System Settings/System Settings"
PUNCH = {"doctype": "Employee Checkin", "employee": "HR-EMP-00001", "time": "2026-11-01 08:00:00", "log_type": "IN"}


@pytest.fixture
def api() -> Api:
    return Api()


def boot(api: Api, user: User, path: str = "/app") -> Any:
    page = api.request("GET", path, user=user)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    found = re.search(r"frappe\.boot = (\{.*?\});\n", page.text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def asked(api: Api, user: User) -> str:
    return str(api.request("GET", TIME_ZONE, user=user).json()["message"]["time_zone"])


@pytest.mark.parametrize("user", [HR_USER, HR_CLERK])
def test_an_hr_user_is_told_their_own_zone_and_not_that_of_the_site(api: Api, user: User) -> None:
    api.site.set_time_zone("Asia/Kolkata", user.name)
    assert asked(api, user) == "Asia/Kolkata"
    api.site.set_time_zone("Asia/Tokyo")
    assert (asked(api, user), asked(api, ADMIN), asked(api, GUEST)) == ("Asia/Kolkata", "Asia/Riyadh", "Asia/Kolkata")
    assert api.request("GET", SYSTEM_SETTINGS, user=user).status_code == 403


@pytest.mark.parametrize(("user", "path"), [(HR_USER, "/app"), (HR_CLERK, "/app/home"), (NO_ROLE_USER, "/me")])
def test_a_page_tells_both_zones(api: Api, user: User, path: str) -> None:
    api.site.set_time_zone("Asia/Kolkata", user.name)
    data = boot(api, user, path)
    assert data["time_zone"] == {"system": "Asia/Riyadh", "user": "Asia/Kolkata"}
    assert data["sysdefaults"]["time_zone"] == "Asia/Kolkata"


def test_the_desk_sends_a_guest_to_log_in_and_refuses_a_bad_token(api: Api) -> None:
    answer = api.request("GET", "/app", user=GUEST)
    assert (answer.status_code, answer.headers["location"]) == (301, "/login?redirect-to=%2Fapp")
    assert boot(api, GUEST, "/login")["time_zone"]["system"] == "Asia/Riyadh"
    assert api.request("GET", "/app", headers={"Authorization": "token a:b"}).status_code == 401
    assert [api.request("GET", path, user=NO_ROLE_USER).status_code for path in ("/app", "/login")] == [403, 301]


def test_the_zone_of_the_site_changes_while_it_runs_and_that_of_its_users_does_not(api: Api) -> None:
    api.request("POST", "/api/resource/Employee Checkin", json=PUNCH)
    api.request("POST", "/sandbox/time_zone", json={"time_zone": "America/New_York"}).raise_for_status()
    api.request("POST", "/api/resource/Employee Checkin", json=PUNCH | {"log_type": "OUT"})
    before, after = (row["creation"] for row in api.site.rows("Employee Checkin"))
    assert after < before
    assert (asked(api, HR_USER), boot(api, HR_USER)["time_zone"]["system"]) == ("Asia/Riyadh", "America/New_York")
    assert api.request("GET", SYSTEM_SETTINGS).json()["message"] == {"time_zone": "America/New_York"}
    api.request("POST", "/sandbox/reset")
    assert boot(api, HR_USER)["time_zone"]["system"] == "Asia/Riyadh"


def test_a_system_manager_changes_the_zone_by_rest(api: Api) -> None:
    assert api.request("PUT", SETTINGS, json={"time_zone": "Asia/Tokyo"}, user=HR_USER).status_code == 403
    assert api.request("PUT", SETTINGS, json={"time_zone": "Asia/Tokyo"}).status_code == 200
    assert api.request("PUT", SETTINGS, json={"time_zone": "Mars/Base"}).status_code == 417
    assert api.site.time_zone == "Asia/Tokyo"


def test_no_zone_is_set_that_does_not_exist(api: Api) -> None:
    assert api.request("POST", "/sandbox/time_zone", json={"time_zone": "Mars/Base"}).status_code == 422
    assert api.request("POST", "/sandbox/time_zone", json={"time_zone": "UTC", "user": "nobody"}).status_code == 422
