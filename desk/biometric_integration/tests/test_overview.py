"""The numbers of the workspace: what the console says, once a minute, and never 0 where nobody knows."""

import frappe
from frappe.tests.utils import FrappeTestCase
from frappe.utils import get_system_timezone

from biometric_integration import console, overview
from biometric_integration.biometric_integration.dashboard_chart_source.punches_by_day.punches_by_day import get_data
from biometric_integration.tests.answering_console import answering, name_console, user_with

SAID = {
    "devices": {"silent": 2, "never": 1, "connected": 40},
    "numbers": 5,
    "waiting": 70,
    "letters": 4,
    "days": [
        {"day": "2026-11-29", "outcomes": {"delivered": 9}},
        {"day": "2026-11-30", "outcomes": {"delivered": 6, "waiting": 2}},
    ],
    "as_of": "2026-11-30T08:00:00Z",
}
CARDS = (overview.silent_devices, overview.unmapped_people, overview.punches_today, overview.needs_attention)


class TestOverview(FrappeTestCase):
    def setUp(self) -> None:
        answers = answering()
        self.console = answers.__enter__()
        self.addCleanup(answers.__exit__, None, None, None)
        self.console.answers["overview"] = (200, SAID)
        overview.forget()
        self.addCleanup(overview.forget)

    def tearDown(self) -> None:
        frappe.set_user("Administrator")
        frappe.db.rollback()
        frappe.clear_messages()

    def test_cards_and_chart_say_what_the_console_says_which_is_asked_once(self) -> None:
        self.assertEqual([card() for card in CARDS], [3, 5, 8, 4])
        self.assertEqual(
            get_data(chart_name="Punches by Day", filters="{}"),
            {
                "labels": ["29 Nov", "30 Nov"],
                "datasets": [{"name": "delivered", "values": [9, 6]}, {"name": "waiting", "values": [0, 2]}],
            },
        )
        asked = {"days": str(overview.DAYS), "zone": get_system_timezone()}
        self.assertEqual(self.console.asked, [("overview", asked)])

    def test_a_console_that_is_away_makes_no_number_and_no_empty_chart(self) -> None:
        for status, content in ((503, {"error": "no"}), (200, {"devices": {}})):
            with self.subTest(status=status):
                overview.forget()
                self.console.answers["overview"] = (status, content)
                self.assertEqual({card() for card in CARDS} - {0}, {overview.UNKNOWN})
                self.assertEqual(frappe.get_message_log(), [])
                with self.assertRaises(console.ConsoleProblem):
                    get_data()
                frappe.clear_messages()
        self.assertLess(len(self.console.asked), 3, "it is not asked for each card")

    def test_another_console_is_asked_anew(self) -> None:
        self.assertEqual(overview.needs_attention(), 4)
        name_console("", "")
        self.assertEqual(overview.needs_attention(), overview.UNKNOWN)

    def test_numbers_of_everybody_are_for_those_who_may_see_everybody(self) -> None:
        for roles, shown in ((("HR User",), 5), (("System Manager",), 5), (("Employee",), overview.UNKNOWN)):
            frappe.set_user(user_with(*roles))
            with self.subTest(roles=roles):
                self.assertEqual(overview.unmapped_people(), shown)
        frappe.set_user("Administrator")
        of_one = user_with("HR User")
        company = frappe.get_all("Company", pluck="name", limit=1)[0]
        given = {"doctype": "User Permission", "user": of_one, "allow": "Company", "for_value": company}
        frappe.get_doc(given | {"apply_to_all_doctypes": 1}).insert(ignore_permissions=True)
        frappe.clear_cache(user=of_one)
        frappe.set_user(of_one)
        self.assertEqual({card() for card in CARDS}, {overview.UNKNOWN})
        self.console.asked.clear()
        self.assertIn("for those who may see every employee", get_data()["labels"][0])
        self.assertEqual(self.console.asked, [])
