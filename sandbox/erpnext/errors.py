"""What a Frappe site answers when it refuses or fails: the status, and a body of four keys that may each be absent."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

Language = Literal["en", "de"]

GERMAN: Final = {"Employee": "Mitarbeiter", "Employee Checkin": "Mitarbeiter einchecken"}

_TITLES: Final[dict[Language, str]] = {"en": "Message", "de": "Nachricht"}
_REASONS: Final = {
    400: "Bad Request",
    413: "Request Entity Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
}


@dataclass(frozen=True)
class Message:
    """What a person would be shown, perhaps in a colour; `thrown` by `frappe.throw`, an `alert` for a moment only."""

    english: str
    german: str | None = None
    title: str | None = None
    red: bool = False
    thrown: bool = False
    green: bool = False
    alert: bool = False

    def text(self, language: Language) -> str:
        """Its words, in English where there is no translation."""
        return self.german if language == "de" and self.german else self.english

    def encode(self, language: Language) -> str:
        """`_server_messages`: JSON in JSON."""
        shown: dict[str, Any] = {"message": self.text(language), "title": self.title or _TITLES[language]}
        if self.red or self.thrown:
            shown["indicator"] = "red"
        if self.thrown:
            shown |= {"raise_exception": 1, "__frappe_exc_id": "0000"}
        if self.green:
            shown["indicator"] = "green"
        if self.alert:
            shown["alert"] = 1
        return orjson.dumps([orjson.dumps(shown).decode()]).decode()


class FrappeError(Exception):
    """One answer that is not a success.

    Attributes:
        status: The HTTP status.
        exc_type: The word by which a client tells errors apart.
        headers: Of the answer, beyond the usual ones.
    """

    def __init__(
        self,
        status: int,
        exc_type: str,
        exception: str | None = None,
        *,
        message: Message | None = None,
        first: Message | None = None,
        source: str | None = None,
        about: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """An answer.

        Args:
            status: The HTTP status.
            exc_type: The class name of the exception.
            exception: Its dotted name and text, where `{message}` stands for the message. None for an error that
                carries no traceback even where tracebacks are allowed.
            message: For a person.
            first: For a person, before that.
            source: The app that failed.
            about: The text of `_error_message`.
            headers: Of the answer, beyond the usual ones.
        """
        super().__init__(f"{status} {exc_type}")
        self.status = status
        self.exc_type = exc_type
        self.headers = dict(headers or {})
        self._exception = exception
        self._message = message
        self._first = first
        self._source = source
        self._about = about

    @property
    def words(self) -> str:
        """What an answer with it says first, in English."""
        shown = self._first or self._message
        return shown.text("en") if shown else self._exception or ""

    def body(self, language: Language, *, traceback: bool) -> bytes:
        """The JSON body, with `exc` and `exception` only where `traceback` allows them."""
        answer: dict[str, str] = {"exc_type": self.exc_type}
        if traceback and self._exception is not None:
            text = self._message.text(language) if self._message else ""
            exception = self._exception.replace("{message}", text)
            answer = {"exception": exception} | answer
            if self._source:
                answer["_exc_source"] = self._source
            answer["exc"] = orjson.dumps([f"Traceback (most recent call last):\n{exception}\n"]).decode()
        if self._message:
            shown = [each.encode(language) for each in (self._first, self._message) if each]
            answer["_server_messages"] = orjson.dumps([one for each in shown for one in orjson.loads(each)]).decode()
        if self._about:
            answer["_error_message"] = self._about
        return orjson.dumps(answer)


def html_page(status: int, text: str = "") -> bytes:
    """The page of a server that stands in front of Frappe and answers without it."""
    title = _REASONS.get(status, "Error")
    return (
        f"<html>\n  <head>\n    <title>{title}</title>\n  </head>\n  <body>\n"
        f"    <h1><p>{title}</p></h1>\n    {html.escape(text)}\n  </body>\n</html>\n"
    ).encode()


def thrown(
    exc_type: str,
    english: str,
    *,
    german: str | None = None,
    title: str | None = None,
    module: str = "frappe.exceptions",
    source: str | None = None,
    status: int = 417,
) -> FrappeError:
    """417, as `frappe.throw` gives it; `module` is where the exception's class lives."""
    message = Message(english, german, title, thrown=True)
    return FrappeError(status, exc_type, f"{module}.{exc_type}: {{message}}", message=message, source=source)


def failed(name: str, text: str, *, source: str | None = None) -> FrappeError:
    """500: Python or the database raised; `name` is the dotted name of the exception."""
    return FrappeError(500, name.rpartition(".")[2], f"{name}: {text}", source=source)


def authentication() -> FrappeError:
    """401: an `Authorization` header that leads to no user."""
    return FrappeError(401, "AuthenticationError", "frappe.exceptions.AuthenticationError")


def not_permitted(user: str, doctype: str, *, reading_list: bool = False) -> FrappeError:
    """403: the user's roles do not allow it. Only the refusal of a list carries a traceback."""
    return FrappeError(
        403,
        "PermissionError",
        "frappe.exceptions.PermissionError" if reading_list else None,
        message=Message(
            f"User <strong>{user}</strong> does not have doctype access via role permission for document "
            f"<strong>{doctype}</strong>"
        ),
        about=f"No permission for {doctype}",
    )


def no_permission(doctype: str) -> FrappeError:
    """403: a value is asked for, and the user's roles do not let them read it."""
    return thrown("PermissionError", f"No permission for {doctype}", status=403)


def not_submittable(doctype: str) -> FrappeError:
    """403: a docstatus other than draft on a doctype that has none."""
    return FrappeError(
        403,
        "PermissionError",
        message=Message("Document Type is not submittable"),
        about=f"No permission for {doctype}",
    )


def login_required(method: str) -> FrappeError:
    """403: a guest calls a method that is for users."""
    text = (
        "<details><summary>You are not permitted to access this resource. Login to access</summary>"
        f"Function <strong>{method}</strong> is not whitelisted.</details>"
    )
    return FrappeError(
        403,
        "PermissionError",
        "frappe.exceptions.PermissionError: {message}",
        message=Message(text, title="Method Not Allowed", thrown=True),
    )


def not_found(doctype: str | None = None, name: str | None = None) -> FrappeError:
    """404: no such path, or (with a message) no such document."""
    message = Message(f"{doctype} {name} not found", thrown=True) if doctype else None
    return FrappeError(404, "DoesNotExistError", message=message)


def unknown_doctype(doctype: str) -> FrappeError:
    """500: Frappe looks for the doctype's Python module."""
    module = doctype.lower().replace(" ", "_")
    return FrappeError(500, "ImportError", f"Error: No module named 'frappe.core.doctype.{module}'")


def unknown_method(method: str, *, module_is_there: bool) -> FrappeError:
    """417: no such function, or not even such a module."""
    package, _, function = method.rpartition(".")
    why = f"module '{package}' has no attribute '{function}'" if module_is_there else f"No module named '{package}'"
    return thrown("ValidationError", f"Failed to get method for command {method} with {why}")


def label(field: str) -> str:
    """The label of a standard field."""
    return field.replace("_", " ").title()


def mandatory(doctype: str, name: str, field: str, label_of_field: str | None = None) -> FrappeError:
    """417: a value is missing."""
    words = label_of_field or label(field)
    return FrappeError(
        417,
        "MandatoryError",
        f"frappe.exceptions.MandatoryError: [{doctype}, {name}]: {field}",
        message=Message(
            f"Error: Value missing for {doctype}: {words}",
            f"Error: Value missing for {GERMAN.get(doctype, doctype)}: {GERMAN.get(words, words)}",
        ),
    )


def not_unique(doctype: str, name: str, field: str, label: str, value: object) -> FrappeError:
    """417: the database has that value in a unique field already."""
    return FrappeError(
        417,
        "UniqueValidationError",
        f"frappe.exceptions.UniqueValidationError: ('{doctype}', '{name}', "
        f"IntegrityError(1062, \"Duplicate entry '{value}' for key '{field}'\"))",
        message=Message(f"{label} must be unique"),
    )


def name_taken(doctype: str, name: str) -> FrappeError:
    """409: a document has that name already."""
    return FrappeError(
        409,
        "DuplicateEntryError",
        f"frappe.exceptions.DuplicateEntryError: ('{doctype}', '{name}', "
        f"IntegrityError(1062, \"Duplicate entry '{name}' for key 'PRIMARY'\"))",
        message=Message(f"{doctype} <strong>{name}</strong> already exists", title="Duplicate Name", red=True),
    )


def linked(doctype: str, name: str, other_doctype: str, other: str) -> FrappeError:
    """417: another document leads to this one, so it can be neither deleted nor, if that one stands, cancelled."""
    this, that = (f'<a href="/app/Form/{each}/{of}">{of}</a>' for each, of in ((doctype, name), (other_doctype, other)))
    text = f"Cannot delete or cancel because {doctype} {this} is linked with {other_doctype} {that} "
    return thrown("LinkExistsError", text)


def inactive_employee(url: str, employee: str) -> FrappeError:
    """417: of an employee who is Inactive nothing is stored."""
    link = f'<a href="{url}/app/employee/{employee}">{employee}</a>'
    return thrown(
        "InactiveEmployeeStatusError",
        f"Transactions cannot be created for an Inactive Employee {link}.",
        module="erpnext.setup.doctype.employee.employee",
        source="hrms (app)",
    )


def docstatus_transition(before: int, after: int) -> FrappeError:
    """417: a document does not come from one docstatus to that other."""
    words = {0: "Draft", 1: "Submitted", 2: "Cancelled"}
    text = f"Cannot change docstatus from {before} ({words[before]}) to {after} ({words[after]})"
    return FrappeError(417, "DocstatusTransitionError", f"frappe.exceptions.DocstatusTransitionError: {text}")


def session_stopped() -> FrappeError:
    """503: maintenance."""
    return FrappeError(503, "SessionStopped", "frappe.exceptions.SessionStopped: Session Stopped")


def read_only() -> FrappeError:
    """503: maintenance during which reading is allowed."""
    return FrappeError(
        503,
        "InReadOnlyMode",
        "frappe.exceptions.InReadOnlyMode: {message}",
        message=Message(
            "Site is running in read only mode for maintenance or site update, this action can not be performed "
            "right now. Please try again later.",
            title="In Read Only Mode",
            thrown=True,
        ),
    )


def too_many_requests(headers: Mapping[str, str]) -> FrappeError:
    """429, with the headers that say when to come back."""
    name = "frappe.exceptions.TooManyRequestsError"
    return FrappeError(429, "TooManyRequestsError", name, headers=headers)


def database_down() -> FrappeError:
    """500: the database does not answer."""
    text = "(2003, \"Can't connect to MySQL server on '127.0.0.1' ([Errno 111] Connection refused)\")"
    return failed("pymysql.err.OperationalError", text)
