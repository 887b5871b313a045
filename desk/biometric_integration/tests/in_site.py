"""What the tests need of a site that its REST interface does not give. Run by the Python of a bench, in its `sites`.

python in_site.py SITE WHAT < ARGUMENTS > ANSWER
"""

import json
import sys
from typing import Any

import frappe
from frappe.utils import get_system_timezone
from frappe.utils.password import update_password

APP = "biometric_integration"
CHECKIN = "Employee Checkin"
ADMINISTRATOR = "punchstream-desk-admin@example.com"
API_USER = "punchstream-desk-api@example.com"
ROLES = {
    ADMINISTRATOR: ("System Manager", "HR Manager", "HR User"),
    API_USER: ("HR User", "Biometric Sync"),
}


def prepare() -> dict[str, Any]:
    """Make both users with new keys and passwords, where the site is one for trying things out.

    Returns:
        `problem`, why the tests cannot run here, or the keys and the password of each user, a company and the zone of
        the site.
    """
    if not frappe.conf.allow_tests:
        return {"problem": "the site is not for tests: set allow_tests in its site_config.json"}
    if missing := {"erpnext", "hrms", APP} - set(frappe.get_installed_apps()):
        return {"problem": f"not installed: {', '.join(sorted(missing))}"}
    companies = frappe.get_all("Company", pluck="name", limit=1)
    if not companies:
        return {"problem": "the site has no company: complete its setup wizard"}
    return {
        "company": companies[0],
        "zone": get_system_timezone(),
        "administrator": _user(ADMINISTRATOR),
        "api": _user(API_USER),
    }


def _user(email: str) -> dict[str, str]:
    if frappe.db.exists("User", email):
        user = frappe.get_doc("User", email)
    else:
        user = frappe.get_doc({"doctype": "User", "email": email, "first_name": email.partition("@")[0]})
        user.send_welcome_email = 0
        user.insert()
    user.add_roles(*ROLES[email])
    user.reload()
    user.api_key, secret = frappe.generate_hash(length=15), frappe.generate_hash(length=15)
    user.api_secret = secret
    user.save()
    password = frappe.generate_hash(length=20)
    update_password(email, password)
    return {"user": email, "key": user.api_key, "secret": secret, "password": password}


def state() -> dict[str, list[str]]:
    """What an app could change of a site: its tables, and the rows by which Frappe knows what there is."""
    columns = frappe.db.sql(
        "select table_name, column_name, column_type, is_nullable, column_default from information_schema.columns"
        " where table_schema = database() order by 1, 2"
    )
    indexes = frappe.db.sql(
        "select table_name, index_name, column_name, non_unique from information_schema.statistics"
        " where table_schema = database() order by 1, 2, 3"
    )
    of_rows = (
        *("DocType", "Custom Field", "Property Setter", "Role", "Workspace", "Number Card", "Dashboard Chart"),
        *("Dashboard Chart Source", "Module Def", "Custom DocPerm", "Page", "Report", "Client Script", "Server Script"),
    )
    roles = frappe.get_all("Has Role", fields=["parenttype", "parent", "role"])
    singles = frappe.db.sql("select distinct doctype from `tabSingles`", pluck=True)
    return {
        "columns": [" ".join(map(str, each)) for each in columns],
        "indexes": [" ".join(map(str, each)) for each in indexes],
        "apps": sorted(frappe.get_installed_apps()),
        "Singles": sorted(singles),
        "__Auth": sorted(set(frappe.db.sql("select doctype from `__Auth`", pluck=True))),
        "Has Role": sorted(f"{each.parenttype} {each.parent} {each.role}" for each in roles),
        **{doctype: sorted(frappe.get_all(doctype, pluck="name")) for doctype in of_rows},
    }


def take_checkins(employees: list[str]) -> dict[str, dict[str, Any]]:
    """The check-ins of employees by event_id, each with all its columns; they are gone from the site afterwards."""
    rows = frappe.get_all(CHECKIN, {"employee": ["in", employees]}, ["*"])
    frappe.db.delete(CHECKIN, {"employee": ["in", employees]})
    return {row.event_id: row for row in rows}


def main() -> None:
    """Answer one question."""
    frappe.init(site=sys.argv[1])
    frappe.connect()
    try:
        frappe.set_user("Administrator")
        questions = {each.__name__: each for each in (prepare, state, take_checkins)}
        answer = questions[sys.argv[2]](**json.load(sys.stdin))
        frappe.db.commit()
    finally:
        frappe.destroy()
    print(frappe.as_json(answer))


if __name__ == "__main__":
    main()
