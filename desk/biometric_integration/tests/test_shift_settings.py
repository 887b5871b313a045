"""What a Shift Type says to Punchstream, on a real site: what is refused, and what Punchstream is told."""

from typing import Any
from unittest.mock import patch

import frappe
from frappe.tests.utils import FrappeTestCase
from frappe.utils import add_days, nowdate

from biometric_integration import shift_settings, sync
from biometric_integration.tests.answering_console import user_with

DAY = "Punchstream Test Day"


def device(device_id: str, site: str = "test-site", **fields: Any) -> "frappe.model.document.Document":
    given = {"doctype": "Biometric Device", "device_id": device_id, "site": site, "timezone": "Asia/Riyadh"}
    return frappe.get_doc(given | {"serial": f"SN-{device_id}"} | fields).insert()


def shift(*places: dict[str, str], name: str = DAY, **fields: Any) -> "frappe.model.document.Document":
    given = {"doctype": "Shift Type", "__newname": name, "start_time": "08:00:00", "end_time": "16:00:00"}
    return frappe.get_doc(given | {"punchstream_places": list(places)} | fields)


def direct(*places: dict[str, str], **fields: Any) -> "frappe.model.document.Document":
    return shift(*places or ({"site": "test-site"},), punchstream_attendance_by="Punchstream", **fields)


def said(name: str = DAY) -> dict[str, Any] | None:
    """What Punchstream is told of a shift."""
    return {each["shift_type"]: each for each in shift_settings.entries()}.get(name)


class TestShiftSettings(FrappeTestCase):
    def setUp(self) -> None:
        device("test-01")
        device("test-02", "test-other")

    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_messages()

    def assert_refused(self, words: str, doc: "frappe.model.document.Document") -> None:
        frappe.clear_messages()
        with self.assertRaises(frappe.ValidationError) as raised:
            doc.save()
        self.assertIn(words, str(raised.exception))

    def test_a_shift_that_names_no_place_is_none_of_punchstreams(self) -> None:
        shift().insert()

        self.assertIsNone(said())

    def test_a_shift_of_auto_attendance_says_only_where_its_people_punch(self) -> None:
        fields = {"punchstream_half_day_below": 4, "punchstream_attendance_from": nowdate()}
        shift({"site": " test-site "}, {"device": "test-02"}, enable_auto_attendance=1, **fields).insert()

        self.assertEqual(
            said(), {"shift_type": DAY, "sites": ["test-site"], "devices": ["test-02"], "attendance": "erpnext"}
        )

    def test_a_shift_that_punchstream_makes_the_attendance_of_says_how(self) -> None:
        day = add_days(nowdate(), -3)
        saved = direct(
            punchstream_half_day_below=4.5, punchstream_one_punch="Half Day", punchstream_attendance_from=day
        ).insert()
        expected = {"shift_type": DAY, "sites": ["test-site"], "devices": [], "attendance": "direct"}
        settings = {"half_day_below": 16200, "one_punch": "half_day", "attendance_from": day}

        self.assertEqual(said(), expected | settings)
        saved.update(
            {"punchstream_half_day_below": 0, "punchstream_one_punch": "None", "punchstream_attendance_from": None}
        )
        saved.save()
        self.assertEqual(said(), expected | {"one_punch": "none"})

    def test_what_the_fleet_would_refuse_is_refused(self) -> None:
        for places, fields, words in (
            ([], {"punchstream_attendance_by": "Punchstream"}, "needs the sites or devices"),
            ([{"site": "nowhere"}], {}, "no Biometric Device is of the site nowhere"),
            ([{"site": "test-site", "device": "test-01"}], {}, "either a site or a device"),
            ([{}], {}, "either a site or a device"),
            ([{"site": "test-site"}, {"site": "test-site"}], {}, "row 2: test-site is there twice"),
            ([{"device": "no-such"}], {}, "no-such"),
        ):
            with self.subTest(words=words, places=places):
                self.assert_refused(words, shift(*places, **fields))
        self.assert_refused("from 0.25 to 24 hours", direct(punchstream_half_day_below=0.1))
        self.assert_refused("a year away", direct(punchstream_attendance_from=add_days(nowdate(), 3650)))
        self.assert_refused("Attendance By cannot be", shift(punchstream_attendance_by="Somebody"))

    def test_two_never_make_the_attendance_of_one_shift(self) -> None:
        words = "Either ERPNext or Punchstream"
        self.assert_refused(words, direct(enable_auto_attendance=1))
        saved = direct().insert()
        saved.enable_auto_attendance = 1
        self.assert_refused(words, saved)
        saved.reload().update({"enable_auto_attendance": 1, "punchstream_attendance_by": "ERPNext"})
        saved.save()
        self.assertEqual(said()["attendance"], "erpnext")

    def test_punchstream_moves_the_last_sync_of_a_shift_whose_device_has_gone(self) -> None:
        saved = direct().insert()
        # As by the database of an earlier day: no hook of the app saw it.
        frappe.db.delete("Biometric Device", {"name": "test-01"})
        saved.reload().update({"last_sync_of_checkin": "2026-03-01 08:00:00"})
        with patch.object(shift_settings.rules, "check_places") as looked:
            saved.save()
        self.assertFalse(looked.called)
        self.assertEqual(str(saved.reload().last_sync_of_checkin), "2026-03-01 08:00:00")
        saved.punchstream_half_day_below = 4
        self.assert_refused("test-site", saved)

    def test_the_last_device_of_a_shift_is_not_deleted(self) -> None:
        direct().insert()
        shift({"device": "test-02"}, name="Punchstream Test Night").insert()

        for name in ("test-01", "test-02"):
            with self.assertRaises(frappe.ValidationError) as raised:
                frappe.delete_doc("Biometric Device", name)
            self.assertIn("would be left without it", str(raised.exception))
        device("test-03")
        frappe.delete_doc("Biometric Device", "test-01")

    def test_a_device_that_is_disabled_or_moved_is_saved_and_it_is_said_which_shift_has_none(self) -> None:
        direct().insert()
        for fields in ({"disabled": 1}, {"disabled": 0}, {"site": "test-other"}):
            frappe.clear_messages()
            saved = frappe.get_doc("Biometric Device", "test-01")
            saved.update(fields)
            saved.save()
            shown = [each["message"] for each in frappe.get_message_log() if DAY in each["message"]]
            self.assertEqual(len(shown), int(fields != {"disabled": 0}))

    def test_a_shift_that_is_renamed_or_deleted_is_so_for_punchstream(self) -> None:
        direct().insert()
        frappe.rename_doc("Shift Type", DAY, "Punchstream Test Renamed", force=True)
        self.assertIsNone(said())
        self.assertEqual(said("Punchstream Test Renamed")["sites"], ["test-site"])
        frappe.delete_doc("Shift Type", "Punchstream Test Renamed")
        self.assertIsNone(said("Punchstream Test Renamed"))
        self.assertFalse(frappe.get_all("Biometric Shift Place", filters={"parent": "Punchstream Test Renamed"}))

    def test_the_sync_role_alone_is_told(self) -> None:
        direct().insert()
        frappe.set_user(user_with(sync.ROLE))
        self.assertEqual([each["shift_type"] for each in sync.shifts() if each["shift_type"] == DAY], [DAY])
        # Beside these fields it sees nothing of a shift.
        self.assertFalse(frappe.has_permission("Shift Type", "read"))
        frappe.set_user(user_with("HR Manager"))
        with self.assertRaises(frappe.PermissionError):
            sync.shifts()

    def test_a_day_of_punchstream_is_unique_in_attendance(self) -> None:
        field = frappe.get_meta("Attendance").get_field("punchstream_day")
        self.assertTrue(field.unique and field.read_only and field.no_copy)
        indexes = frappe.db.sql("show index from `tabAttendance` where column_name = 'punchstream_day'", as_dict=True)
        self.assertEqual([each.Non_unique for each in indexes], [0])
