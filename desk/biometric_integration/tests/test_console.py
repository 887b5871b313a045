"""The console is asked within bounds, and whatever it does, one sentence says what is wrong."""

import socket
from unittest.mock import patch

import frappe
from frappe.tests.utils import FrappeTestCase

from biometric_integration import console
from biometric_integration.tests.answering_console import TOKEN, answering, name_console


class TestConsole(FrappeTestCase):
    def tearDown(self) -> None:
        frappe.db.rollback()
        frappe.clear_messages()

    def assert_problem(self, words: str) -> None:
        frappe.clear_messages()
        with self.assertRaises(console.ConsoleProblem) as raised:
            console.get("punches", most=1)
        self.assertIn(words, str(raised.exception))
        (shown,) = frappe.get_message_log()
        self.assertEqual(shown["message"], str(raised.exception))
        self.assertNotIn(TOKEN, str(raised.exception))

    def test_an_answer_is_given_back_and_the_token_goes_to_the_console_only(self) -> None:
        with answering() as server:
            server.answers["punches"] = (200, {"items": []})
            self.assertEqual(console.get("punches", most=1, after=None), {"items": []})
        self.assertEqual(server.asked, [("punches", {"most": "1"})])
        self.assertEqual(server.tokens, [f"Bearer {TOKEN}"])

    def test_each_refusal_is_one_sentence(self) -> None:
        with answering() as server:
            for status, content, words in (
                (401, {"error": "no token"}, "refuses the token"),
                (403, {"error": "no right"}, "may not do this"),
                (409, {"error": "<b>not so</b>"}, "&lt;b&gt;not so"),
                (422, {"error": "days: no"}, "days: no"),
                (429, {"error": "wait"}, "cannot answer now: wait"),
                (503, {"error": "Kafka does not answer"}, "cannot answer now: Kafka"),
                (500, b"<html>", "something else"),
                (404, b"<html>", "something else"),
                (200, b"<html>", "something else"),
                (200, b"\xff", "something else"),
            ):
                with self.subTest(status=status, content=content):
                    server.answers["punches"] = (status, content)
                    self.assert_problem(words)

    def test_what_is_not_there_does_not_exist(self) -> None:
        with answering(), self.assertRaises(frappe.DoesNotExistError):
            console.get("punches/nothing")

    def test_nobody_is_led_elsewhere_with_the_token(self) -> None:
        with answering() as server:
            server.headers["location"] = f"{server.address}/api/v1/elsewhere"
            server.answers["punches"] = (302, b"")
            self.assert_problem("something else")
        self.assertEqual([path for path, _ in server.asked], ["punches"])

    def test_an_answer_is_bounded_in_size_and_time(self) -> None:
        with answering() as server:
            server.answers["punches"] = (200, {"items": ["x" * 5_000]})
            with patch.object(console, "LARGEST", 4_000):
                self.assert_problem("Choose fewer days")
            server.pause = 0.05
            with patch.object(console.get, "__kwdefaults__", None), patch.object(console, "PART", 1):
                frappe.clear_messages()
                with self.assertRaises(console.ConsoleProblem) as raised:
                    console.post("punches", seconds=0.3)
        self.assertIn("does not answer", str(raised.exception))

    def test_a_console_that_is_away_or_silent_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            name_console(f"http://127.0.0.1:{port}", TOKEN)
            with self.assertRaises(console.ConsoleProblem):
                console.post("punches", seconds=0.3)
        self.assert_problem("does not answer now")

    def test_settings_that_say_nothing_are_said(self) -> None:
        name_console("", "")
        self.assert_problem("does not say where")
        frappe.db.delete("__Auth", {"doctype": "Punchstream Settings"})
        name_console("http://127.0.0.1:1", "")
        self.assert_problem("has no token")

    def test_an_answer_without_what_it_should_have_is_said(self) -> None:
        with self.assertRaises(console.ConsoleProblem), console.understood():
            {}["items"]

    def test_the_token_goes_to_no_address_in_the_clear(self) -> None:
        for good in (
            "https://punches.example.com/",
            "http://127.0.0.1:8180",
            "http://localhost:8180",
            "http://[::1]:8",
        ):
            self.assertEqual(console.check_address(good), good.rstrip("/"))
        for bad in (
            "http://punches.example.com",
            "punches.example.com",
            "ftp://punches.example.com",
            "https://name:word@punches.example.com",
            "https://punches.example.com/console",
            "https://punches.example.com?x=1",
            "https://punches.example.com:x",
            "https://a b",
            "https://",
        ):
            with self.subTest(bad), self.assertRaises(ValueError):
                console.check_address(bad)
