"""Where the console is, and its token: who sees them, and where the token goes."""

import frappe
from frappe.desk.form.load import getdoc
from frappe.tests.utils import FrappeTestCase

from biometric_integration.tests.answering_console import TOKEN, answering, name_console, user_with


class TestPunchstreamSettings(FrappeTestCase):
    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_messages()

    def test_the_token_is_stored_encrypted_and_never_shown(self) -> None:
        name_console("https://punches.example.com", TOKEN)
        getdoc("Punchstream Settings", "Punchstream Settings")
        (shown,) = frappe.response.docs
        self.assertNotIn(TOKEN, str(shown.as_dict()))
        self.assertNotIn(TOKEN, str(frappe.db.sql("select * from tabSingles where doctype = 'Punchstream Settings'")))
        self.assertEqual(frappe.get_doc("Punchstream Settings").get_password("api_token"), TOKEN)

    def test_another_address_needs_the_token_again(self) -> None:
        name_console("https://punches.example.com", TOKEN)
        settings = frappe.get_doc("Punchstream Settings")
        settings.console_url = "https://elsewhere.example.com"
        with self.assertRaises(frappe.ValidationError):
            settings.save()
        settings.reload()
        settings.console_url = "https://elsewhere.example.com"
        settings.api_token = "punchstream_another"
        settings.save()

    def test_an_address_that_is_none_is_refused(self) -> None:
        with self.assertRaises(frappe.ValidationError):
            name_console("http://punches.example.com", TOKEN)

    def test_only_a_system_manager_sees_and_asks(self) -> None:
        with answering() as server:
            server.answers["punches"] = (200, {"items": [], "next": None, "as_of": "2026-11-30T08:00:00Z"})
            frappe.set_user(user_with("HR Manager", "HR User"))
            settings = frappe.get_doc("Punchstream Settings")
            self.assertFalse(settings.has_permission("read"))
            with self.assertRaises(frappe.PermissionError):
                settings.ask_console()
            frappe.set_user(user_with("System Manager"))
            self.assertEqual(frappe.get_doc("Punchstream Settings").ask_console(), "2026-11-30T08:00:00Z")
