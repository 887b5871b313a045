"""The app `biometric_integration`, which a site has or has not."""

from typing import Final

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import OF_THE_DESK
from sandbox.erpnext.errors import FrappeError, Message
from sandbox.erpnext.users import User

APP: Final = "biometric_integration"
VERSION: Final = "0.1.0"


def check_method(method: str, *, installed: bool) -> None:
    """Return if a method is not of the app, or the app is there.

    Raises:
        FrappeError: the app is not installed.
    """
    if method.partition(".")[0] == APP and not installed:
        why = f"App {APP} is not installed"
        raise FrappeError(
            417,
            "ValidationError",
            "frappe.exceptions.ValidationError: {message}",
            first=Message(why, thrown=True),
            message=Message(f"Failed to get method for command {method} with {why}", thrown=True),
        )


def check_list(user: User, doctype: str, *, installed: bool) -> None:
    """Return if a doctype is not of the app, or the app is there.

    Raises:
        FrappeError: the app is not installed. Frappe says then that the user may not read doctypes.
    """
    if doctype in OF_THE_DESK and not installed:
        raise errors.not_permitted(user.name, "DocType")
