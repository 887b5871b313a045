"""Fast ingest on a real site: what it stores and refuses is what `insert` does with each document alone."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import frappe
from frappe.tests.utils import FrappeTestCase

from biometric_integration.ingest import api, conditions
from biometric_integration.ingest.bulk import OF_EACH

CHECKIN = conditions.CHECKIN
DAY = datetime(2026, 3, 2)  # noqa: DTZ001 - ERPNext's times are naive
HR = "ingest-hr@example.com"
HERE = "biometric_integration.ingest.test_ingest"
test_ignore = ["Employee"]

Documents = Sequence[dict[str, Any]]
Seen = tuple[dict[str, dict[str, Any]], dict[str, tuple[int, str, str]]]


def employee(first_name: str, **fields: Any) -> str:
    company = frappe.get_all("Company", pluck="name", limit=1)[0]
    given = {"doctype": "Employee", "first_name": first_name, "company": company, "gender": "Female"}
    given |= {"date_of_birth": "1990-01-01", "date_of_joining": "2020-01-01"}
    return frappe.get_doc(given | fields).insert().name


def shift_type(name: str, start: str, end: str, **fields: Any) -> str:
    given = {"doctype": "Shift Type", "__newname": name, "start_time": start, "end_time": end}
    given |= {"begin_check_in_before_shift_start_time": 60, "allow_check_out_after_shift_end_time": 60}
    return frappe.get_doc(given | fields).insert().name


def assign(of: str, shift: str, start: str, end: str | None = None, **fields: Any) -> None:
    given = {"doctype": "Shift Assignment", "employee": of, "shift_type": shift, "start_date": start, "end_date": end}
    given |= {"company": frappe.db.get_value("Employee", of, "company"), "status": "Active"}
    frappe.get_doc(given | fields).submit()


def checkin(of: str, time: datetime, **fields: Any) -> dict[str, Any]:
    given = {"doctype": CHECKIN, "employee": of, "time": time.isoformat(sep=" "), "device_id": "test-01"}
    return given | {"event_id": uuid4().hex} | fields


def stored(documents: Documents) -> dict[str, dict[str, Any]]:
    """The rows, by event_id, without what differs between two inserts."""
    columns = [each for each in frappe.db.get_table_columns(CHECKIN) if each not in OF_EACH]
    ids = [each["event_id"] for each in documents]
    return {row.event_id: row for row in frappe.get_all(CHECKIN, {"event_id": ["in", ids]}, columns)}


def names(documents: Documents) -> list[str]:
    ids = [each["event_id"] for each in documents]
    return frappe.get_all(CHECKIN, {"event_id": ["in", ids]}, pluck="name", order_by="name")


def refuse_out(doc: "frappe.model.document.Document", _method: str) -> None:
    """A hook of some other app."""
    if doc.log_type == "OUT":
        raise KeyError("of an app")


def tag(doc: "frappe.model.document.Document", _method: str) -> None:
    """Another hook, which changes what is stored."""
    doc.device_id = f"{doc.device_id} (tagged)"


@contextmanager
def hook(event: str, handler: str) -> Iterator[None]:
    hooks = frappe.get_doc_hooks()
    with patch.dict(hooks, {CHECKIN: {event: [f"{HERE}.{handler}"]}}):
        yield


class TestIngest(FrappeTestCase):
    def setUp(self) -> None:
        self.day = shift_type("ingest day", "08:00:00", "16:00:00")
        self.night = shift_type("ingest night", "22:00:00", "06:00:00")
        self.evening = shift_type("ingest evening", "16:00:00", "23:30:00")
        self.early = shift_type("ingest early", "00:30:00", "10:00:00")
        frappe.db.set_single_value("HR Settings", "allow_multiple_shift_assignments", 1)
        self.plain = employee("Plain", default_shift=self.day)
        if not frappe.db.exists("User", HR):
            user = {"doctype": "User", "email": HR, "first_name": "HR", "send_welcome_email": 0}
            frappe.get_doc(user | {"roles": [{"role": "HR User"}]}).insert()
        frappe.set_user(HR)

    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_document_cache("HR Settings", "HR Settings")
        frappe.clear_messages()

    def by_insert(self, documents: Documents) -> Seen:
        """What `insert` makes of each alone; undone again."""
        refused = {}
        frappe.db.savepoint("ingest_before")
        for each in documents:
            frappe.clear_messages()
            frappe.flags.error_message = None
            frappe.db.savepoint("ingest_one")
            try:
                frappe.get_doc(dict(each)).insert()
            except Exception as error:  # noqa: BLE001 - what a hook raises
                frappe.db.rollback(save_point="ingest_one")
                refused[each["event_id"]] = (getattr(error, "http_status_code", 500), type(error).__name__, self.said())
        rows = stored(documents)
        self.names = names(documents)
        frappe.db.rollback(save_point="ingest_before")
        frappe.clear_messages()
        return rows, refused

    def said(self) -> str:
        log = frappe.local.message_log
        return log[0]["message"] if log else frappe.utils.get_traceback().splitlines()[-1]

    def assert_as_insert(self, documents: Documents) -> dict[str, dict[str, Any]]:
        """Compare all columns of what is stored, and all that is refused; return the outcomes by event_id."""
        rows, refused = self.by_insert(documents)
        answer = api.insert([dict(each) for each in documents])
        self.assertEqual([each["event_id"] for each in documents], [each["event_id"] for each in answer["outcomes"]])
        found = stored(documents)
        self.assertEqual(rows.keys(), found.keys())
        for event_id, row in rows.items():
            self.assertEqual(row, found[event_id])
        outcomes = {each["event_id"]: each for each in answer["outcomes"]}
        keys = ("status", "exc_type", "message")
        ours = {id_: tuple(each[key] for key in keys) for id_, each in outcomes.items() if each["outcome"] == "refused"}
        self.assertEqual(
            {id_: each[:2] for id_, each in refused.items()}, {id_: each[:2] for id_, each in ours.items()}
        )
        for id_, (_status, _type, message) in refused.items():
            # A link in a message names the document, whose number is another one by now.
            self.assertEqual(_without_names(message), _without_names(ours[id_][2]))
        return outcomes

    def ways(self, outcomes: dict[str, dict[str, Any]]) -> list[str]:
        return [each.get("way", each["outcome"]) for each in outcomes.values()]

    def test_this_site_takes_check_ins_in_bulk(self) -> None:
        self.assertEqual(api.describe(), {"most": 1000, "bulk": True, "why": []})

    def test_rows_are_those_of_insert_on_every_kind_of_shift(self) -> None:
        frappe.set_user("Administrator")
        people = [
            self.plain,
            employee("None"),
            employee("Nights"),
            employee("Two"),
            employee("Ended"),
            employee("Later"),
        ]
        people += [employee("Early"), employee("Margins", default_shift=self.night), employee("Overlap")]
        assign(people[2], self.night, "2026-03-01")
        assign(people[3], self.day, "2026-02-01", "2026-03-31")
        assign(people[3], self.evening, "2026-02-15")
        assign(people[4], self.day, "2026-02-01", "2026-03-02")
        assign(people[4], self.night, "2026-03-05", "2026-03-07")
        assign(people[5], self.day, "2026-03-04")
        assign(people[6], self.early, "2026-03-02", "2026-03-03")
        assign(people[7], self.day, "2026-03-03", "2026-03-03")
        assign(people[8], self.day, "2026-02-01")
        assign(people[8], self.early, "2026-02-01", status="Inactive")
        frappe.set_user(HR)
        edges = [timedelta(hours=hour, minutes=minute) for hour in range(24) for minute in (0, 29, 31)]
        edges += [timedelta(hours=hour, seconds=shift) for hour in (7, 17, 21, 23) for shift in (-1, 0, 1)]
        chosen = random.Random(21)
        documents = []
        for of in people:
            for edge in chosen.sample(edges, 40):
                fields: dict[str, Any] = chosen.choice(
                    [{}, {"log_type": "IN"}, {"log_type": "OUT"}, {"latitude": 24.7136, "longitude": 46.6753}]
                )
                documents.append(checkin(of, DAY + timedelta(days=chosen.randrange(-1, 6)) + edge, **fields))

        outcomes = self.assert_as_insert(documents)

        self.assertGreater(self.ways(outcomes).count("bulk"), 340)
        shifts = {(row["shift"], row["offshift"]) for row in stored(documents).values()}
        self.assertGreaterEqual(shifts, {(self.day, 0), (self.night, 0), (self.evening, 0), (self.early, 0), (None, 1)})

    def test_names_are_the_next_of_the_series(self) -> None:
        documents = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(20)]

        self.assert_as_insert(documents)

        self.assertEqual(names(documents), self.names)

    def test_what_is_there_is_named_and_not_stored_again(self) -> None:
        documents = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(5)]
        first = api.insert(documents)["outcomes"]

        again = api.insert([*documents, checkin(self.plain, DAY + timedelta(hours=1))])["outcomes"]

        self.assertEqual([each["outcome"] for each in again], ["exists"] * 5 + ["inserted"])
        self.assertEqual([each["name"] for each in again[:5]], [each["name"] for each in first])

    def test_refusals_are_those_of_insert_and_hold_up_nothing(self) -> None:
        frappe.set_user("Administrator")
        inactive, left = employee("Inactive"), employee("Left")
        # Each of another employee: where one fails otherwise than by a refusal, those that follow are not tried.
        times = ("no time", "2026-02-30 08:00:00", "2026-03-02T18:00:00.5", "2026-03-02 18:00:00Z", "0001-01-01", "")
        broken = [employee(f"Broken {each}") for each in times]
        frappe.db.set_value("Employee", inactive, "status", "Inactive")
        frappe.db.set_value("Employee", left, "status", "Left")
        frappe.set_user(HR)
        there = checkin(self.plain, DAY + timedelta(hours=9), log_type="IN")
        frappe.get_doc(dict(there)).insert()
        fine = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(6)]
        twice = checkin(self.plain, DAY + timedelta(hours=12))
        documents = [
            *fine[:3],
            checkin(inactive, DAY),
            checkin(left, DAY),
            checkin("no such employee", DAY),
            checkin(self.plain.lower(), DAY + timedelta(hours=8)),
            checkin("", DAY),
            there | {"event_id": uuid4().hex},
            there | {"event_id": uuid4().hex, "log_type": "OUT"},
            twice,
            twice | {"event_id": uuid4().hex},
            checkin(self.plain, DAY + timedelta(hours=13), log_type="SIDEWAYS"),
            checkin(self.plain, DAY + timedelta(hours=14), log_type=""),
            checkin(self.plain, DAY + timedelta(hours=15), device_id="d" * 141),
            checkin(self.plain, DAY + timedelta(hours=16), device_id="<b>bold</b>"),
            checkin(self.plain, DAY + timedelta(hours=17), device_id=7),
            *(checkin(of, DAY) | {"time": time} for of, time in zip(broken, times, strict=True)),
            checkin(self.plain, DAY + timedelta(hours=19), latitude="24.7", longitude=True),
            checkin(self.plain, DAY + timedelta(hours=20), skip_auto_attendance=1),
            checkin(self.plain, DAY + timedelta(hours=21), no_such_field=1),
            *fine[3:],
        ]

        outcomes = self.assert_as_insert(documents)

        refused = {each["exc_type"] for each in outcomes.values() if each["outcome"] == "refused"}
        self.assertGreaterEqual(
            refused,
            {"InactiveEmployeeStatusError", "MandatoryError", "ValidationError", "CharacterLengthExceededError"},
        )
        self.assertTrue(all(outcomes[each["event_id"]]["outcome"] == "inserted" for each in fine[:3]))

    def test_an_id_that_is_there_twice_in_one_call_is_stored_once(self) -> None:
        one = checkin(self.plain, DAY)
        documents = [one, one | {"time": "2026-03-02 01:00:00"}, checkin(self.plain, DAY + timedelta(hours=2))]

        outcomes = api.insert(documents)["outcomes"]

        self.assertEqual([each["outcome"] for each in outcomes], ["inserted", "refused", "inserted"])
        self.assertEqual((outcomes[1]["status"], outcomes[1]["exc_type"]), (417, "UniqueValidationError"))

    def test_coordinates_are_asked_for_as_by_insert(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.set_single_value("HR Settings", "allow_geolocation_tracking", 1)
        place = {"doctype": "Shift Location", "location_name": "ingest place", "checkin_radius": 100}
        frappe.get_doc(place | {"latitude": 24.7136, "longitude": 46.6753}).insert()
        near = employee("Near")
        assign(near, self.day, "2026-03-01", shift_location="ingest place")
        frappe.set_user(HR)
        at, far = {"latitude": 24.7136, "longitude": 46.6753}, {"latitude": 25.7136, "longitude": 46.6753}
        documents = [
            checkin(self.plain, DAY + timedelta(hours=9), **at),
            checkin(self.plain, DAY + timedelta(hours=10)),
        ]
        documents += [checkin(near, DAY + timedelta(hours=9 + each), **at) for each in range(3)]
        documents += [checkin(near, DAY + timedelta(hours=13), **far), checkin(near, DAY + timedelta(hours=3), **far)]

        outcomes = self.assert_as_insert(documents)

        refused = [each["exc_type"] for each in outcomes.values() if each["outcome"] == "refused"]
        self.assertEqual(refused, ["ValidationError", "CheckinRadiusExceededError"])
        self.assertEqual(self.ways(outcomes).count("bulk"), 3)
        self.assertTrue(stored(documents)[documents[2]["event_id"]]["geolocation"])

    def test_with_a_hook_of_an_app_each_goes_by_insert(self) -> None:
        documents = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(4)]
        with hook("validate", "tag"):
            outcomes = self.assert_as_insert(documents)
            why = api.describe()["why"]

        self.assertEqual(self.ways(outcomes), ["insert"] * 4)
        self.assertEqual(why, [f"a hook of an app: {HERE}.tag (validate)"])
        self.assertEqual(stored(documents)[documents[0]["event_id"]]["device_id"], "test-01 (tagged)")

    def test_a_hook_that_fails_on_one_holds_up_only_its_employee(self) -> None:
        frappe.set_user("Administrator")
        other = employee("Other")
        frappe.set_user(HR)
        documents = [
            checkin(self.plain, DAY),
            checkin(self.plain, DAY + timedelta(hours=1), log_type="OUT"),
            checkin(other, DAY),
            checkin(self.plain, DAY + timedelta(hours=2)),
        ]
        with hook("after_insert", "refuse_out"):
            outcomes = api.insert(documents)["outcomes"]

        self.assertEqual([each["outcome"] for each in outcomes], ["inserted", "refused", "inserted", "skipped"])
        self.assertEqual((outcomes[1]["status"], outcomes[1]["exc_type"]), (500, "KeyError"))
        self.assertEqual(len(stored(documents)), 2)

    def test_whatever_a_site_has_of_its_own_is_an_obstacle(self) -> None:
        frappe.set_user("Administrator")
        for doctype, filters in conditions._RULES:
            frappe.db.savepoint("ingest_rule")
            frappe.get_doc({"doctype": doctype, "name": "ingest rule"} | filters).db_insert()
            self.assertEqual(conditions.obstacles(), [f"{doctype} ingest rule"])
            frappe.db.rollback(save_point="ingest_rule")

    def test_fields_that_are_made_otherwise_are_an_obstacle(self) -> None:
        meta = frappe.get_meta(CHECKIN)
        for name, change in (
            ("device_id", {"reqd": 1}),
            ("device_id", {"default": "gate"}),
            ("device_id", {"length": 20}),
            ("log_type", {"options": "\nIN\nOUT\nBREAK"}),
            ("event_id", {"unique": 0}),
            ("employee_name", {"fetch_from": None}),
            ("shift", {"in_global_search": 1}),
        ):
            with patch.multiple(meta.get_field(name), **change):
                self.assertEqual(len(conditions.obstacles()), 1, (name, change))
        extra = frappe.new_doc("Custom Field", fieldname="extra", fieldtype="Data")
        for fieldtype, fields, obstacles in (
            ("Data", {}, 0),
            ("Section Break", {}, 0),
            ("Data", {"fetch_from": "employee.department"}, 1),
            ("Data", {"reqd": 1}, 1),
            ("Table", {}, 1),
        ):
            extra.update({"fieldtype": fieldtype, "fetch_from": None, "reqd": 0} | fields)
            with patch.object(meta, "fields", [*meta.fields, extra]):
                self.assertEqual(len(conditions.obstacles()), obstacles, (fieldtype, fields))
        with patch.object(meta, "autoname", "hash"):
            self.assertEqual(conditions.obstacles(), ["another naming: hash"])

    def test_another_controller_or_other_code_is_an_obstacle(self) -> None:
        from hrms.hr.doctype.employee_checkin.employee_checkin import EmployeeCheckin

        def validate(self: EmployeeCheckin) -> None:
            """Of another release, or patched in."""

        with patch.object(EmployeeCheckin, "validate", validate):
            self.assertIn("was not compared", conditions.obstacles()[0])
        with patch.object(conditions, "get_controller", lambda _doctype: type("Ours", (EmployeeCheckin,), {})):
            self.assertIn("another controller", conditions.obstacles()[0])

    def test_user_permissions_count_as_for_insert(self) -> None:
        frappe.set_user("Administrator")
        other = employee("Other")
        given = {"doctype": "User Permission", "user": HR, "allow": "Employee", "for_value": other}
        frappe.get_doc(given).insert()
        frappe.set_user(HR)
        documents = [checkin(self.plain, DAY), checkin(other, DAY), checkin(other, DAY + timedelta(hours=1))]

        outcomes = self.assert_as_insert(documents)

        self.assertEqual([each["outcome"] for each in outcomes.values()], ["refused", "inserted", "inserted"])
        self.assertEqual(outcomes[documents[0]["event_id"]]["exc_type"], "PermissionError")
        self.assertEqual(self.ways(outcomes), ["insert"] * 3)

    def test_nobody_stores_more_than_by_insert(self) -> None:
        frappe.set_user("Administrator")
        user = {"doctype": "User", "email": "ingest-nobody@example.com", "first_name": "N", "send_welcome_email": 0}
        frappe.get_doc(user).insert()
        frappe.set_user("ingest-nobody@example.com")
        documents = [checkin(self.plain, DAY), checkin(self.plain, DAY + timedelta(hours=1))]

        outcomes = api.insert(documents)["outcomes"]

        self.assertEqual(
            [(each["outcome"], each.get("status")) for each in outcomes], [("refused", 403), ("skipped", None)]
        )
        self.assertRaises(frappe.PermissionError, api.describe)
        frappe.set_user("Administrator")
        self.assertEqual(stored(documents), {})

    def test_a_row_that_differs_from_that_of_insert_goes_no_further(self) -> None:
        documents = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(4)]
        with hook("before_save", "tag"), patch.object(conditions, "_HARMLESS", {*conditions._HARMLESS, f"{HERE}.tag"}):
            outcomes = self.assert_as_insert(documents)

        self.assertEqual(self.ways(outcomes), ["insert"] * 4)
        self.assertEqual(outcomes[documents[1]["event_id"]]["why"], "insert stores another row: device_id")

    def test_a_bulk_that_the_database_refuses_goes_one_by_one(self) -> None:
        taken = checkin(self.plain, DAY + timedelta(days=1))
        documents = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(4)]
        documents[2]["event_id"] = taken["event_id"]
        frappe.get_doc(dict(taken)).insert()
        # Another writer stored it after we had looked.
        with patch.object(api, "_there", lambda _ids: {}):
            outcomes = api.insert(documents)["outcomes"]

        self.assertEqual([each["outcome"] for each in outcomes], ["inserted", "inserted", "refused", "inserted"])
        self.assertEqual(outcomes[2]["exc_type"], "UniqueValidationError")
        self.assertEqual(outcomes[1]["why"], "the bulk was refused: IntegrityError")

    def test_a_list_that_cannot_be_read_stores_nothing(self) -> None:
        fine = checkin(self.plain, DAY)
        for given in (
            "{}",
            [fine, "no document"],
            [fine, {"employee": self.plain}],
            [fine, checkin(self.plain, DAY) | {"doctype": "Employee"}],
            [checkin(self.plain, DAY + timedelta(seconds=each)) for each in range(1001)],
        ):
            self.assertRaises(frappe.ValidationError, api.insert, given)
        self.assertEqual(stored([fine]), {})

    def test_a_thousand_in_one_call(self) -> None:
        documents = [checkin(self.plain, DAY + timedelta(minutes=each)) for each in range(1000)]

        self.assertEqual({each["outcome"] for each in api.insert(documents)["outcomes"]}, {"inserted"})
        self.assertEqual(len(stored(documents)), 1000)


def _without_names(message: str) -> str:
    return " ".join(word for word in message.split() if "EMP-CKIN-" not in word)
