"""What the buttons of Biometric Device have the console do, and what they say."""

import frappe
from frappe.tests.utils import FrappeTestCase

from biometric_integration import console
from biometric_integration.biometric_integration.doctype.biometric_device.biometric_device import pending_devices
from biometric_integration.tests.answering_console import answering, user_with

PENDING = {
    "adapter": "zkteco_adms",
    "serial": "TEST-CKJF1",
    "device_id": None,
    "clients": {"10.0.0.8": 1, "10.0.0.7": 40},
    "facts": {"firmware": "x"},
    "first_seen": "2026-11-30T08:00:00Z",
    "last_seen": "2026-11-30T09:00:00Z",
    "requests": 41,
    "visits": 2,
}


class TestDeviceButtons(FrappeTestCase):
    def setUp(self) -> None:
        answers = answering()
        self.console = answers.__enter__()
        self.addCleanup(answers.__exit__, None, None, None)
        device = {"doctype": "Biometric Device", "device_id": "test-01", "site": "s", "timezone": "Asia/Riyadh"}
        self.device = frappe.get_doc(device | {"serial": "TEST-1", "adapter": "zkteco_adms"}).insert()

    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_messages()

    def test_a_test_says_what_was_looked_at(self) -> None:
        checks = [
            {"check": "entry", "ok": True, "detail": "is good"},
            {"check": "device", "ok": False, "detail": "away"},
        ]
        self.console.answers["devices/test-01/test"] = (200, checks)
        self.assertEqual(self.device.test_device(), checks)

    def test_a_backfill_is_begun_and_its_state_is_shown(self) -> None:
        path = "devices/test-01/backfill"
        self.assertIsNone(self.device.backfill())
        self.console.answers[path] = (202, {"way": "ordered"})
        self.assertEqual(self.device.ask_again("2026-11-01", "2026-11-02"), "ordered")
        self.assertEqual(self.console.asked[-1], (path, {"first": "2026-11-01", "last": "2026-11-02"}))
        running = {
            "first": "2026-11-01",
            "last": "2026-11-02",
            "state": "running",
            "by": "desk",
            "pages": 2,
            "said": "",
        }
        self.console.answers[path] = (200, running | {"began": "2026-11-30T08:00:00Z"})
        self.assertEqual(self.device.backfill(), running)

    def test_what_the_console_refuses_is_said(self) -> None:
        self.console.answers["devices/test-01/backfill"] = (409, {"error": "test-01 cannot be asked"})
        with self.assertRaisesRegex(console.ConsoleProblem, "test-01 cannot be asked"):
            self.device.ask_again("2026-11-01", "2026-11-02")
        self.console.answers["devices/test-01/test"] = (503, {"error": "no"})
        with self.assertRaisesRegex(console.ConsoleProblem, "cannot answer now"):
            self.device.test_device()

    def test_a_device_that_punchstream_has_not_read_yet_is_said(self) -> None:
        for press in (self.device.test_device, lambda: self.device.ask_again("2026-11-01", "2026-11-02")):
            frappe.clear_messages()
            with self.assertRaisesRegex(console.ConsoleProblem, "does not know test-01 yet"):
                press()
            self.assertEqual(len(frappe.get_message_log()), 1)

    def test_a_name_stays_a_part_of_the_path(self) -> None:
        self.assertEqual(console.segment("a/../b?c"), "a%2F..%2Fb%3Fc")

    def test_devices_that_ask_are_listed_with_where_they_came_from(self) -> None:
        self.console.answers["pending-devices"] = (200, [PENDING])
        (found,) = pending_devices()
        self.assertEqual(found["addresses"], ["10.0.0.7", "10.0.0.8"])
        self.assertEqual((found["serial"], found["adapter"]), ("TEST-CKJF1", "zkteco_adms"))

    def test_the_buttons_are_for_whoever_may_write_devices(self) -> None:
        frappe.set_user(user_with("HR Manager", "HR User", "Biometric Sync"))
        mine = frappe.get_doc("Biometric Device", "test-01")
        for press in (
            mine.test_device,
            mine.backfill,
            lambda: mine.ask_again("2026-11-01", "2026-11-02"),
            pending_devices,
        ):
            with self.assertRaises(frappe.PermissionError):
                press()
        self.assertEqual(self.console.asked, [])
