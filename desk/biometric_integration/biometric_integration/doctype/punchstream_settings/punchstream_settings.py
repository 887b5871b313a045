"""Punchstream Settings: where the console of Punchstream is, and the token by which the desk asks it."""

import frappe
from frappe import _
from frappe.model.document import Document

from biometric_integration import console, overview


class PunchstreamSettings(Document):
    """One console. The token is stored encrypted, and is sent to that console only."""

    def validate(self) -> None:
        """Refuse an address to which the token may not go."""
        if not self.console_url:
            return
        try:
            self.console_url = console.check_address(self.console_url)
        except ValueError as error:
            frappe.throw(f"{_('Console URL')}: {error}")
        before = self.get_doc_before_save()
        is_other = before and before.console_url and before.console_url != self.console_url
        # Otherwise whoever changes the address has the token sent to a machine of theirs.
        if is_other and self.api_token and self.is_dummy_password(self.api_token):
            frappe.throw(_("Type the token again: it was given for another address"))

    def on_update(self) -> None:
        """Show no number any more that another console has said."""
        overview.forget()

    @frappe.whitelist(methods=["POST"])
    def ask_console(self) -> str:
        """Ask the console whether it takes the token.

        Returns:
            As of when the console knows everything; empty while it has not read everything.

        Raises:
            ConsoleProblem: it does not answer, or refuses.
        """
        self.check_permission("write")
        with console.understood():
            return console.get("punches", most=1)["as_of"] or ""
