"""Biometric User Map on a real site: a row that would clash says with what."""

from typing import Any

import frappe
from frappe.tests.utils import FrappeTestCase

test_ignore = ["Employee"]
"""Of these Frappe's runner makes no test records: they would bring half of ERPNext with them."""


def employee(first_name: str, **fields: Any) -> str:
    company = frappe.get_all("Company", pluck="name", limit=1)[0]
    given = {"doctype": "Employee", "first_name": first_name, "company": company, "gender": "Female"}
    given |= {"date_of_birth": "1990-01-01", "date_of_joining": "2020-01-01"}
    return frappe.get_doc(given | fields).insert().name


def row(device_user_id: str, of: str, **fields: Any) -> "frappe.model.document.Document":
    given = {"doctype": "Biometric User Map", "device_user_id": device_user_id, "employee": of}
    return frappe.get_doc(given | fields)


class TestBiometricUserMap(FrappeTestCase):
    def setUp(self) -> None:
        self.anna, self.bashir = employee("Anna"), employee("Bashir")
        device = {"doctype": "Biometric Device", "device_id": "test-01", "site": "test-site", "timezone": "Asia/Riyadh"}
        frappe.get_doc(device | {"serial": "TEST-CKJF1"}).insert()

    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()

    def assert_refused(self, words: str, refused: "frappe.model.document.Document") -> None:
        with self.assertRaises(frappe.ValidationError) as raised:
            refused.insert()
        self.assertIn(words, str(raised.exception))

    def test_a_number_is_mapped_on_a_device_and_on_a_site(self) -> None:
        for scope in ({"device": "test-01"}, {"site": "test-site"}):
            saved = row("0042", self.anna, **scope).insert()
            self.assertEqual(saved.reload().device_user_id, "0042")
            self.assertEqual(saved.employee_name, "Anna")

    def test_a_row_that_would_clash_says_with_what(self) -> None:
        for scope, words in (
            ({"device": "test-01"}, "7 of device test-01 is"),
            ({"site": "test-site"}, "7 of site test-site is"),
        ):
            first = row("7", self.anna, **scope).insert()
            self.assert_refused(f"{words} {self.anna} already, by row {first.name}", row(" 7 ", self.bashir, **scope))

    def test_a_row_may_be_changed_into_no_clash_either(self) -> None:
        row("7", self.anna, site="test-site").insert()
        other = row("8", self.bashir, site="test-site").insert()
        other.device_user_id = "7"

        with self.assertRaises(frappe.ValidationError):
            other.save()

    def test_the_database_refuses_a_second_row_that_nobody_saw(self) -> None:
        row("7", self.anna, site="test-site").insert()
        second = row("7", self.bashir, site="test-site")
        second._refuse_second_row = lambda: None

        with self.assertRaises(frappe.UniqueValidationError):
            second.insert()

    def test_what_the_database_takes_for_one_text_is_two_numbers(self) -> None:
        row("a7", self.anna, site="test-site").insert()

        self.assertTrue(row("A7", self.bashir, site="test-site").insert().name)

    def test_what_cannot_be_mapped_is_refused(self) -> None:
        self.assert_refused("either the device or the site", row("7", self.anna, site="test-site", device="test-01"))
        self.assert_refused("Attendance Device ID", row("7", self.anna))
        self.assert_refused("letters, digits", row("7", self.anna, site="Riyadh 1"))
        self.assert_refused("Device User ID is missing", row("  ", self.anna, site="test-site"))
        self.assert_refused("There is no Employee nobody", row("7", "nobody", site="test-site"))
        self.assert_refused("Could not find", row("7", self.anna, device="no-such-device"))

    def test_a_device_that_a_row_names_is_not_deleted(self) -> None:
        row("7", self.anna, device="test-01").insert()

        with self.assertRaises(frappe.LinkExistsError):
            frappe.delete_doc("Biometric Device", "test-01")
