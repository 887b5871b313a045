"""Biometric Device: one device of the fleet, as ERPNext lists it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import frappe
from frappe import _
from frappe.model.document import Document

from biometric_integration import console, rules, shift_settings

TESTED: Final = 45.0
"""Seconds within which a test of a device has an answer: the console waits 30 s for the device."""
CHECK: Final = ("check", "ok", "detail")
"""What a test says of each thing that it looked at."""
BACKFILL: Final = ("first", "last", "state", "by", "pages", "said")
"""What is said of a backfill."""
PENDING: Final = ("adapter", "serial", "device_id", "last_seen")
"""What is said of a device that asks to be let in, besides its addresses."""
MOST_ADDRESSES: Final = 20
"""From so many addresses a device that asks to be let in may have come; more are not one device."""


class BiometricDevice(Document):
    """One device. Punchstream reads it, and writes the live fields.

    A token is never stored. Who saves one gets its hash stored, and a new device that needs a token is given one, which
    is shown once.
    """

    def before_insert(self) -> None:
        """Give a device that pushes a token, where it has nothing by which it would be known."""
        self._check("device_id", rules.check_identifier)
        # An import shows no messages, so nobody would see the token.
        if self.mode == "PUSH" and not self._is_known_by_something() and not frappe.flags.in_import:
            self.flags.token = rules.new_token()
            self.token_sha256 = rules.hash_token(self.flags.token)

    def after_insert(self) -> None:
        """Show the token that the device was given."""
        if token := self.flags.pop("token", None):
            show_token(self.device_id, token)

    def validate(self) -> None:
        """Refuse what the fleet would refuse, and put the hash in the place of a token."""
        self._hash_token()
        self._check("site", rules.check_identifier)
        self._check("timezone", rules.check_zone)
        self._check("adapter", _matches(rules.ADAPTER, "lower-case letters, digits and _"))
        self._check("serial", _matches(rules.SERIAL, "letters, digits and _ . : -, at most 64 of them"))
        self._check("token_sha256", _matches(rules.HASH, "64 hexadecimal digits in lower case"))
        self._check("host", rules.check_host)
        self._check("more_settings", rules.read_more_settings)
        if self.port and not 1 <= self.port <= rules.HIGHEST_PORT:
            frappe.throw(_("Port is from 1 to {0}").format(rules.HIGHEST_PORT))
        try:
            rules.check_place(self.latitude or 0, self.longitude or 0)
        except ValueError as error:
            frappe.throw(str(error))
        self._refuse_shared_serial()
        if self.mode == "PUSH" and not self._is_known_by_something():
            frappe.throw(
                _("A device with the mode PUSH needs a token, or its serial number where its protocol has no token")
            )
        if not self.is_new() and (self.has_value_changed("disabled") or self.has_value_changed("site")):
            shift_settings.say_of_shifts(self)

    def on_trash(self) -> None:
        """Refuse to delete the last device of a shift."""
        shift_settings.refuse_removal(self.name)

    @frappe.whitelist(methods=["POST"])
    def make_token(self) -> str:
        """Give the device a new token. The one before opens nothing once Punchstream has read this.

        Returns:
            The token, which nobody can read again.
        """
        token = rules.new_token()
        self.auth_token = token
        self.save()
        return token

    @frappe.whitelist(methods=["POST"])
    def test_device(self) -> list[dict[str, Any]]:
        """Have the console look at the entry of the device, and ask the device who it is, where it can be asked.

        Returns:
            What was looked at: `check`, `ok` and `detail` of each.

        Raises:
            ConsoleProblem: the console does not say.
        """
        self.check_permission("write")
        with self._known(), console.understood():
            checks = console.post(f"devices/{console.segment(self.name)}/test", seconds=TESTED)
            return [{name: each[name] for name in CHECK} for each in checks]

    @frappe.whitelist(methods=["POST"])
    def ask_again(self, first: str, last: str) -> str:
        """Have the device give its punches of some days again.

        Args:
            first: The first day, on the clock of the device.
            last: The last one.

        Returns:
            `asked`: it is asked now; `ordered`: it sends them when it next comes.

        Raises:
            ConsoleProblem: the device cannot do that, the days cannot be, or the console does not say.
        """
        self.check_permission("write")
        with self._known(), console.understood():
            return console.post(f"devices/{console.segment(self.name)}/backfill", {"first": first, "last": last})["way"]

    @frappe.whitelist(methods=["POST"])
    def backfill(self) -> dict[str, Any] | None:
        """How far the newest backfill of the device is; None where the console has begun none.

        Raises:
            ConsoleProblem: the console does not say.
        """
        self.check_permission("write")
        try:
            with console.understood():
                said = console.get(f"devices/{console.segment(self.name)}/backfill")
                return {name: said[name] for name in BACKFILL}
        except frappe.DoesNotExistError:
            frappe.clear_last_message()
            return None

    @contextmanager
    def _known(self) -> Iterator[None]:
        try:
            yield
        except frappe.DoesNotExistError:
            frappe.clear_last_message()
            frappe.throw(
                _(
                    "Punchstream does not know {0} yet. It reads the desk every minute; its log says what it refuses."
                ).format(self.name),
                console.ConsoleProblem,
            )

    def _hash_token(self) -> None:
        token, self.auth_token = self.auth_token, None
        if not token:
            return
        if token != token.strip() or not token.isascii() or not token.isprintable():
            frappe.throw(_("New Token: printable ASCII characters, without spaces before or after"))
        self.token_sha256 = rules.hash_token(token)

    def _is_known_by_something(self) -> bool:
        return bool(self.auth_token or self.token_sha256 or self.serial or self._more().get("via"))

    def _more(self) -> dict:
        try:
            return rules.read_more_settings(self.more_settings or "")
        except ValueError:
            return {}  # `validate` says what is wrong with it

    def _check(self, fieldname: str, check: Callable[[str], object]) -> None:
        value = self.get(fieldname)
        if not value:
            return
        try:
            check(value)
        except ValueError as error:
            frappe.throw(f"{_(self.meta.get_label(fieldname))}: {error}")

    def _refuse_shared_serial(self) -> None:
        if not self.serial or self._more().get("via"):
            return  # a server's own numbers may repeat those of others
        filters = {"adapter": self.adapter, "serial": self.serial, "name": ["!=", self.name]}
        for each in frappe.get_all("Biometric Device", filters=filters, fields=["name", "more_settings"]):
            if not rules.read_more_settings(each.more_settings or "").get("via"):
                frappe.throw(_("Serial Number {0} is that of device {1} already").format(self.serial, each.name))


@frappe.whitelist(methods=["POST"])
def pending_devices() -> list[dict[str, Any]]:
    """The devices that ask Punchstream to be let in, the likeliest first. To make a document of one lets it in.

    Returns:
        Of each what `PENDING` names, and `addresses` from which it came. With a `device_id`, the entry of that device
        has another address.

    Raises:
        ConsoleProblem: the console does not say.
        frappe.PermissionError: the user may not make a device.
    """
    frappe.has_permission("Biometric Device", "create", throw=True)
    with console.understood():
        return [
            {name: each[name] for name in PENDING} | {"addresses": sorted(each["clients"])[:MOST_ADDRESSES]}
            for each in console.get("pending-devices")
        ]


def show_token(device_id: str, token: str) -> None:
    """Show a token to the person who is saving, once.

    Args:
        device_id: Whose it is.
        token: The token.
    """
    frappe.msgprint(
        _("Token of {0}: {1}").format(device_id, f"<code>{token}</code>")
        + "<br>"
        + _("Put it into the terminal now. Nobody can read it again."),
        title=_("Shown Once"),
    )


def _matches(pattern: re.Pattern[str], words: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r}: {words}")

    return check
