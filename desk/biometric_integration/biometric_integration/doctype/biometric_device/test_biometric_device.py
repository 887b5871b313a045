"""Biometric Device on a real site: what is refused, what becomes of a token, and who may write what."""

from hashlib import sha256
from typing import Any

import frappe
from frappe.tests.utils import FrappeTestCase
from frappe.utils import get_datetime

from biometric_integration import rules, sync


def device(device_id: str = "test-01", **fields: Any) -> "frappe.model.document.Document":
    given = {"doctype": "Biometric Device", "device_id": device_id, "site": "test-site", "timezone": "Asia/Riyadh"}
    return frappe.get_doc(given | fields)


def user_with(*roles: str) -> str:
    user = frappe.get_doc({"doctype": "User", "email": f"{frappe.generate_hash(length=8)}@example.com"})
    user.update({"first_name": "Sync", "send_welcome_email": 0, "roles": [{"role": role} for role in roles]})
    return user.insert(ignore_permissions=True).name


class TestBiometricDevice(FrappeTestCase):
    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_messages()

    def assert_refused(self, words: str, **fields: Any) -> None:
        frappe.clear_messages()
        with self.assertRaises(frappe.ValidationError) as raised:
            device(**fields).insert()
        self.assertIn(words, str(raised.exception))

    def test_a_new_device_that_pushes_is_given_a_token_that_is_shown_once(self) -> None:
        frappe.clear_messages()
        name = device().insert().name

        (shown,) = [each["message"] for each in frappe.get_message_log()]
        token = shown.partition("<code>")[2].partition("</code>")[0]
        stored = frappe.db.get_value("Biometric Device", name, "*", as_dict=True)
        self.assertEqual(stored.token_sha256, sha256(token.encode()).hexdigest())
        self.assertNotIn(token, [str(value) for value in stored.values()])

    def test_an_import_which_shows_nobody_a_token_makes_none(self) -> None:
        frappe.flags.in_import = True
        try:
            # An import fills in no default.
            given = {"mode": "PUSH", "adapter": "json"}
            self.assert_refused("needs a token", **given)
            self.assertTrue(device(auth_token="of-the-terminal-7", **given).insert().token_sha256)
        finally:
            frappe.flags.in_import = False

    def test_a_token_that_somebody_has_is_stored_as_its_hash(self) -> None:
        saved = device(auth_token="of-the-terminal-7").insert()

        self.assertEqual(saved.token_sha256, sha256(b"of-the-terminal-7").hexdigest())
        self.assertFalse(saved.reload().auth_token)

    def test_a_new_token_takes_the_place_of_the_one_before_and_no_version_has_it(self) -> None:
        saved = device(auth_token="the-first-one").insert()
        token = saved.make_token()

        self.assertEqual(saved.reload().token_sha256, sha256(token.encode()).hexdigest())
        saved.auth_token = "the-third-one"
        # Without this Frappe makes no version in a test.
        saved.save(ignore_version=False)
        versions = frappe.get_all("Version", filters={"docname": saved.name}, pluck="data")
        self.assertTrue(versions)
        self.assertFalse([each for each in versions if token in each or "the-third-one" in each])
        self.assertTrue([each for each in versions if rules.hash_token("the-third-one") in each])

    def test_who_may_not_write_a_device_makes_no_token(self) -> None:
        saved = device().insert()
        frappe.set_user(user_with("HR User", sync.ROLE))

        with self.assertRaises(frappe.PermissionError):
            frappe.get_doc("Biometric Device", saved.name).make_token()

    def test_a_device_that_is_known_by_its_serial_needs_no_token(self) -> None:
        self.assertFalse(device(adapter="zkteco_adms", serial="TEST-CKJF1").insert().token_sha256)

    def test_a_device_that_pushes_may_not_lose_all_by_which_it_is_known(self) -> None:
        saved = device(adapter="zkteco_adms", serial="TEST-CKJF1").insert()
        saved.serial = None

        with self.assertRaises(frappe.ValidationError):
            saved.save()

    def test_what_the_fleet_would_refuse_is_refused(self) -> None:
        for fields, words in (
            ({"device_id": "two words"}, "letters, digits"),
            ({"site": "Riyadh/1"}, "letters, digits"),
            ({"timezone": "Riyadh"}, "no IANA time zone"),
            ({"timezone": "Asia"}, "no IANA time zone"),
            ({"timezone": "../etc"}, "no IANA time zone"),
            ({"host": "http://10.0.0.7"}, "without http://"),
            ({"port": 70000}, "Port is from 1"),
            ({"latitude": 24.7}, "one of them is missing"),
            ({"latitude": 91, "longitude": 46}, "from -90 to 90"),
            ({"token_sha256": "secret"}, "64 hexadecimal digits"),
            ({"auth_token": " spaces "}, "printable ASCII"),
            ({"more_settings": "[1]"}, "a JSON object"),
            ({"more_settings": "{"}, "no JSON"),
            ({"more_settings": '{"site": "x"}'}, "site: only addresses"),
            ({"more_settings": '{"credentials": {"password": "hunter2"}}'}, "names of environment variables"),
        ):
            with self.subTest(**fields):
                self.assert_refused(words, **fields)

    def test_a_clash_says_with_which_device(self) -> None:
        device("test-01", adapter="zkteco_adms", serial="TEST-CKJF1").insert()

        self.assert_refused(
            "TEST-CKJF1 is that of device test-01", device_id="test-02", adapter="zkteco_adms", serial="TEST-CKJF1"
        )
        with self.assertRaises(frappe.DuplicateEntryError):
            device("test-01").insert()

    def test_a_device_keeps_its_id(self) -> None:
        saved = device().insert()
        saved.update({"device_id": "test-02", "device_name": "Main gate"})
        saved.save()

        self.assertEqual((saved.reload().device_id, saved.device_name), ("test-01", "Main gate"))

    def test_nobody_writes_live_fields_by_hand(self) -> None:
        saved = device().insert()
        frappe.set_user(user_with("System Manager"))
        mine = frappe.get_doc("Biometric Device", saved.name)
        mine.update({"last_cursor": "7", "device_name": "Main gate"})
        mine.save()

        self.assertEqual((mine.reload().last_cursor, mine.device_name), (None, "Main gate"))

    def test_the_sync_role_reads_devices_and_writes_only_live_fields(self) -> None:
        saved = device().insert()
        frappe.set_user(user_with(sync.ROLE))

        self.assertIn(saved.name, frappe.get_list("Biometric Device", pluck="name"))
        mine = frappe.get_doc("Biometric Device", saved.name)
        mine.site = "jeddah"
        with self.assertRaises(frappe.PermissionError):
            mine.save()
        with self.assertRaises(frappe.PermissionError):
            mine.delete()
        with self.assertRaises(frappe.PermissionError):
            device("test-02").insert()

        found = sync.write_live(
            [
                {"device_id": saved.name, "last_sync_at": "2026-11-30T08:00:00Z", "last_cursor": "41", "backlog": "0"},
                {"device_id": "elsewhere", "last_cursor": "1"},
            ]
        )
        now = frappe.get_doc("Biometric Device", saved.name)
        self.assertEqual(found, {"written": 1, "unknown": ["elsewhere"]})
        self.assertEqual((now.last_cursor, now.backlog), ("41", "0"))
        self.assertEqual(now.modified, get_datetime(saved.modified))
        # Without an offset, as the site has its times.
        self.assertEqual(now.last_sync_at.tzinfo, None)
        self.assertEqual(now.last_sync_at, sync.as_naive("2026-11-30T08:00:00Z"))

    def test_live_fields_are_written_with_the_role_only_and_as_a_whole(self) -> None:
        saved = device().insert()
        frappe.set_user(user_with("System Manager"))
        with self.assertRaises(frappe.PermissionError):
            sync.write_live([{"device_id": saved.name, "last_cursor": "41"}])

        frappe.set_user(user_with(sync.ROLE))
        good = {"device_id": saved.name, "last_cursor": "41"}
        for bad in (
            {"device_id": saved.name, "site": "jeddah"},
            {"device_id": saved.name, "last_sync_at": "2026-11-30 08:00:00"},
            {"device_id": saved.name, "last_cursor": "x" * 141},
            {"last_cursor": "41"},
            "riyadh-01",
        ):
            with self.subTest(bad=bad), self.assertRaises(frappe.ValidationError):
                sync.write_live([good, bad])
        with self.assertRaises(frappe.ValidationError):
            sync.write_live([good] * (sync.MOST + 1))
        self.assertFalse(frappe.db.get_value("Biometric Device", saved.name, "last_cursor"))


class TestTokens(FrappeTestCase):
    def test_a_token_has_letters_digits_and_two_signs_and_its_hash_is_the_fleets(self) -> None:
        token = rules.new_token()

        self.assertRegex(token, r"^[A-Za-z0-9][A-Za-z0-9_-]{31}$")
        self.assertEqual(rules.hash_token("a"), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")
