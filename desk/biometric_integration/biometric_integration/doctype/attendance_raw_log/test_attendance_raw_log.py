"""Attendance Raw Log on a real site, over a server that stands for the console."""

import json
from typing import Any

import frappe
from frappe.desk import reportview
from frappe.tests.utils import FrappeTestCase

from biometric_integration import console
from biometric_integration.biometric_integration.doctype.attendance_raw_log.attendance_raw_log import MOST_PAGES, PAGE
from biometric_integration.sync import as_naive
from biometric_integration.tests.answering_console import AnsweringConsole, answering, user_with

test_ignore = ["Employee", "Biometric Device", "Employee Checkin"]
DOCTYPE = "Attendance Raw Log"
EVENT = "0123456789abcdef0123456789abcdef"


def punch(number: int = 0, **fields: Any) -> dict[str, Any]:
    given = {
        "kafka_partition": 3,
        "kafka_offset": number,
        "event_id": EVENT,
        "device_id": "riyadh-01",
        "device_user_id": "0042",
        "site": "riyadh",
        "event_type": "IN",
        "event_time": f"2026-11-30T08:{number // 60 % 60:02}:{number % 60:02}Z",
        "received_at": "2026-11-30T09:00:00.123Z",
        "stored_at": "2026-11-30T09:00:01Z",
        "outcome": "waiting",
        "reason": None,
        "kept_event_id": None,
        "employee": None,
        "decided_at": None,
        "delivered_at": None,
        "document": None,
    }
    return given | fields


def traced(number: int = 0, **fields: Any) -> dict[str, Any]:
    listed = punch(number, **fields)
    times = {"received": "received_at", "stored": "stored_at", "decided": "decided_at", "delivered": "delivered_at"}
    said = [{"name": name, "at": at, "after": None} for name, of in times.items() if (at := listed.pop(of))]
    return {**listed, "message": None, **fields, "milestones": said}


def page(*items: dict[str, Any], after: str | None = None) -> tuple[int, dict[str, Any]]:
    return 200, {"items": list(items), "next": after, "as_of": "2026-11-30T09:00:02Z"}


def employee(first_name: str, company: str) -> str:
    given = {"doctype": "Employee", "first_name": first_name, "company": company, "gender": "Female"}
    return frappe.get_doc(given | {"date_of_birth": "1990-01-01", "date_of_joining": "2020-01-01"}).insert().name


def allow(user: str, doctype: str, name: str) -> None:
    given = {"doctype": "User Permission", "user": user, "allow": doctype, "for_value": name}
    frappe.get_doc(given | {"apply_to_all_doctypes": 1}).insert(ignore_permissions=True)
    frappe.clear_cache(user=user)


class TestAttendanceRawLog(FrappeTestCase):
    def setUp(self) -> None:
        answers = answering()
        self.console: AnsweringConsole = answers.__enter__()
        self.addCleanup(answers.__exit__, None, None, None)
        self.company = frappe.get_all("Company", pluck="name", limit=1)[0]

    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_messages()

    def listed(self, filters: dict | list | None = None, **args: Any) -> list[Any]:
        return frappe.get_list(DOCTYPE, filters=filters, **args)

    def asked(self) -> dict[str, Any]:
        return self.console.asked[-1][1]

    def test_a_list_has_the_fields_of_a_punch_in_the_time_of_the_site(self) -> None:
        anna = employee("Anna", self.company)
        self.console.answers["punches"] = page(punch(5, employee=anna), punch(4))

        first, second = self.listed(limit=20)
        self.assertEqual((first["device"], first["device_user_id"], first["hash"]), ("riyadh-01", "0042", EVENT))
        self.assertEqual((first["employee_name"], second["employee_name"]), ("Anna", None))
        self.assertEqual(first["event_time"], as_naive("2026-11-30T08:00:05Z"))
        self.assertEqual((first["name"], second["name"]), (f"{EVENT}-3-5", f"{EVENT}-3-4"))
        self.assertEqual(self.asked(), {"most": "20"})

    def test_what_a_list_asks_for_is_asked_of_the_console(self) -> None:
        self.console.answers["punches"] = page()
        zone = frappe.utils.get_system_timezone()
        for filters, asked in (
            ({"employee": "E", "device": "D", "site": "s"}, {"employee": "E", "device": "D", "site": "s"}),
            (
                [["outcome", "=", "waiting"], ["device_user_id", "=", "7"]],
                {"outcome": "waiting", "device_user_id": "7"},
            ),
            (
                [["event_time", "between", ["2026-11-01", "2026-11-30"]], ["event_time", ">=", "2026-11-05"]],
                {"first_day": "2026-11-05", "last_day": "2026-11-30", "zone": zone},
            ),
            ([["event_time", "=", "2026-11-01"]], {"first_day": "2026-11-01", "last_day": "2026-11-01", "zone": zone}),
            ([["event_time", "<", "2026-11-01"]], {"last_day": "2026-10-31", "zone": zone}),
            ([["event_time", "<=", "2026-11-01 23:59:59"]], {"last_day": "2026-11-01", "zone": zone}),
        ):
            with self.subTest(filters=filters):
                self.listed(filters, limit=20)
                self.assertEqual(self.asked(), asked | {"most": "20"})

    def test_what_the_console_does_not_find_by_is_refused_and_never_left_out(self) -> None:
        self.console.answers["punches"] = page(punch())
        for filters in (
            [["device_user_id", "like", "%4%"]],
            [["employee", "!=", "E"]],
            [["employee", "is", "not set"]],
            [["employee", "in", ["E", "F"]]],
            [["employee", "=", "E"], ["employee", "=", "F"]],
            [["reason", "=", "x"]],
            [["event_time", ">", "2026-11-01 08:00:00"]],
            [["event_time", ">=", "2026-11-01 08:00:00"]],
            [["name", "like", "%x%"]],
        ):
            with self.subTest(filters=filters), self.assertRaises(frappe.ValidationError):
                self.listed(filters)
        for args in ({"order_by": "employee asc"}, {"or_filters": {"site": "s"}}, {"group_by": "employee"}):
            with self.subTest(args=args), self.assertRaises(frappe.ValidationError):
                self.listed(**args)
        self.assertEqual(self.console.asked, [])

    def test_the_list_of_the_desk_goes_on_by_the_token_of_the_console(self) -> None:
        of = {None: page(punch(9), punch(8), after="one"), "one": page(after="two"), "two": page(punch(7), punch(6))}
        self.console.answers["punches"] = lambda asked: of[asked.get("after")]
        frappe.local.form_dict = frappe._dict(
            doctype=DOCTYPE,
            fields=json.dumps([f"`tab{DOCTYPE}`.`name`"]),
            filters="[]",
            order_by=f"`tab{DOCTYPE}`.`event_time` desc",
            start="1",
            page_length="2",
        )
        found = reportview.get()
        names = [row[found["keys"].index("name")] for row in found["values"]]
        self.assertEqual(names, [f"{EVENT}-3-8", f"{EVENT}-3-7"])
        self.assertEqual([asked.get("after") for _, asked in self.console.asked], [None, "one", "two"])

    def test_a_list_that_has_no_end_is_said_so(self) -> None:
        self.console.answers["punches"] = page(after="more")
        with self.assertRaisesRegex(frappe.ValidationError, "too many punches"):
            self.listed(limit=20)
        self.assertEqual(len(self.console.asked), MOST_PAGES)

    def test_punches_are_counted_up_to_what_a_list_asks_for(self) -> None:
        of = {None: (200, {"outcomes": {"waiting": 2, "delivered": 5}, "next": "one", "as_of": None})}
        of["one"] = (200, {"outcomes": {"delivered": 9}, "next": None, "as_of": None})
        self.console.answers["punches/count"] = lambda asked: of[asked.get("after")]
        for limit, count in (("0", 16), ("10", 10), ("7", 7)):
            frappe.local.form_dict = frappe._dict(doctype=DOCTYPE, filters="[]", fields="[]", limit=limit)
            self.assertEqual(reportview.get_count(), count)
        self.assertEqual(len(self.console.asked), 5, "the last needed one answer alone")

    def test_a_punch_is_opened_with_what_was_sent(self) -> None:
        anna = employee("Anna", self.company)
        delivered = traced(5, outcome="delivered", employee=anna, document="CHK-1", delivered_at="2026-11-30T09:00:03Z")
        self.console.answers[f"punches/{EVENT}"] = (200, [traced(6, outcome="dropped", reason="duplicate"), delivered])
        self.console.answers[f"punches/{EVENT}/sent"] = (
            200,
            [{"kafka_partition": 3, "kafka_offset": number, "raw_event": {"line": number}} for number in (5, 6)],
        )
        by_name, by_event = (frappe.get_doc(DOCTYPE, name) for name in (f"{EVENT}-3-6", EVENT))

        self.assertEqual(
            (by_name.outcome, by_name.reason, by_name.source_payload), ("dropped", "duplicate", '{\n "line": 6\n}')
        )
        self.assertEqual((by_event.name, by_event.outcome, by_event.document), (EVENT, "delivered", "CHK-1"))
        self.assertEqual((by_event.employee_name, by_event.source_payload), ("Anna", '{\n "line": 5\n}'))
        self.assertEqual(by_event.delivered_at, as_naive("2026-11-30T09:00:03Z"))
        self.assertIsNone(by_event.payload_missing)

    def test_a_punch_is_opened_without_what_was_sent_and_says_why(self) -> None:
        self.console.answers[f"punches/{EVENT}"] = (200, [traced()])
        for status, content, words in (
            (403, {"error": "the token does not have the right"}, "may not do this"),
            (503, {"error": "Kafka does not answer"}, "cannot answer now"),
            (200, [], "does not keep it"),
        ):
            with self.subTest(status=status):
                self.console.answers[f"punches/{EVENT}/sent"] = (status, content)
                frappe.clear_messages()
                opened = frappe.get_doc(DOCTYPE, EVENT)
                self.assertEqual((opened.outcome, opened.source_payload), ("waiting", None))
                self.assertIn(words, opened.payload_missing)
                self.assertEqual(frappe.get_message_log(), [])

    def test_a_punch_that_is_not_there_does_not_exist(self) -> None:
        self.console.answers[f"punches/{EVENT}"] = (200, [traced()])
        for name in (f"{EVENT}-3-1", "f" * 32, "x", f"{EVENT}/sent", "../accounts"):
            with self.subTest(name), self.assertRaises(frappe.DoesNotExistError):
                frappe.get_doc(DOCTYPE, name)
        self.assertEqual(self.listed({"name": "f" * 32}), [])
        self.console.answers[f"punches/{EVENT}/sent"] = (200, [])
        self.assertEqual([each["name"] for each in self.listed({"name": EVENT})], [EVENT])

    def test_a_console_that_is_away_makes_no_empty_list(self) -> None:
        self.console.answers |= {"punches": (503, {"error": "no"}), f"punches/{EVENT}": (401, {"error": "no"})}
        with self.assertRaises(console.ConsoleProblem):
            self.listed()
        with self.assertRaises(console.ConsoleProblem):
            frappe.get_doc(DOCTYPE, EVENT)
        self.console.answers["punches"] = (200, {"rows": []})
        with self.assertRaises(console.ConsoleProblem):
            self.listed()

    def test_nobody_writes_or_deletes_a_punch(self) -> None:
        self.console.answers |= {f"punches/{EVENT}": (200, [traced()]), f"punches/{EVENT}/sent": (200, [])}
        opened = frappe.get_doc(DOCTYPE, EVENT)
        opened.site = "elsewhere"
        # Otherwise a site without this device refuses it for that.
        opened.flags.ignore_links = True
        with self.assertRaises(frappe.PermissionError):
            opened.save(ignore_permissions=True)
        with self.assertRaises(frappe.PermissionError):
            opened.delete()
        with self.assertRaises(frappe.PermissionError):
            frappe.get_doc({"doctype": DOCTYPE, "hash": EVENT}).insert(ignore_permissions=True)

    def test_the_raw_log_is_for_hr(self) -> None:
        self.console.answers["punches"] = page(punch())
        for role in ("HR Manager", "HR User"):
            frappe.set_user(user_with(role))
            self.assertEqual(len(self.listed()), 1)
        for roles in ((), ("System Manager",), ("Employee",), ("Biometric Sync",)):
            frappe.set_user(user_with(*roles))
            with self.subTest(roles=roles), self.assertRaises(frappe.PermissionError):
                self.listed()
            frappe.local.form_dict = frappe._dict(doctype=DOCTYPE, filters="[]", fields="[]")
            for ask in (reportview.get, reportview.get_count):
                with self.assertRaises(frappe.PermissionError):
                    ask()

    def test_whoever_may_see_some_employees_sees_their_punches_only(self) -> None:
        other = frappe.get_doc(
            {
                "doctype": "Company",
                "company_name": "Raw Log Test",
                "abbr": "RLT",
                "default_currency": "USD",
                # For some countries Frappe HR and ERPNext add fields, which commits what a rollback should take back.
                "country": "Iceland",
            }
        ).insert()
        anna, bashir = employee("Anna", self.company), employee("Bashir", other.name)
        self.console.answers["punches"] = page(punch(3, employee=anna), punch(2, employee=bashir), punch(1))
        self.console.answers[f"punches/{EVENT}"] = (
            200,
            [traced(3, employee=anna), traced(2, employee=bashir), traced(1)],
        )
        self.console.answers[f"punches/{EVENT}/sent"] = (200, [])
        for doctype, name in (("Employee", anna), ("Company", self.company)):
            user = user_with("HR User")
            allow(user, doctype, name)
            frappe.set_user(user)
            with self.subTest(doctype):
                self.assertEqual([each["employee"] for each in self.listed()], [anna])
                frappe.local.form_dict = frappe._dict(doctype=DOCTYPE, filters="[]", fields="[]", limit="1001")
                self.assertEqual(reportview.get_count(), 1)
                can = [frappe.get_doc(DOCTYPE, f"{EVENT}-3-{number}").has_permission("read") for number in (3, 2, 1)]
                self.assertEqual(can, [True, False, False])
                self.assertEqual(self.listed({"name": f"{EVENT}-3-2"}), [])
            frappe.set_user("Administrator")

        self.console.asked.clear()
        user = user_with("HR User")
        allow(user, "Employee", bashir)
        frappe.set_user(user)
        frappe.get_doc(DOCTYPE, f"{EVENT}-3-3")
        self.assertNotIn(f"punches/{EVENT}/sent", [path for path, _ in self.console.asked])
        self.assertEqual(self.listed({"employee": bashir})[0]["employee"], bashir)
        self.assertEqual(self.asked()["most"], str(PAGE))

    def test_a_user_permission_for_a_device_counts_too(self) -> None:
        anna = employee("Anna", self.company)
        device = {"doctype": "Biometric Device", "site": "riyadh", "timezone": "Asia/Riyadh", "serial": "TEST-1"}
        frappe.get_doc(device | {"device_id": "test-01"}).insert()
        self.console.answers["punches"] = page(punch(3, employee=anna, device_id="test-01"), punch(2, employee=anna))
        user = user_with("HR User")
        allow(user, "Biometric Device", "test-01")
        frappe.set_user(user)
        self.assertEqual([each["device"] for each in self.listed()], ["test-01"])
