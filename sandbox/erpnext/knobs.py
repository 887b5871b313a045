"""What can be made to go wrong with the stand-in, and when."""

import builtins
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.erpnext import errors
from sandbox.erpnext.errors import FrappeError, Language, Message

Milliseconds = Annotated[float, Field(ge=0)]

_MISSING: Final = 404
_INTERNAL: Final = 500
_WITHOUT_TRACEBACK: Final = frozenset({403, 404})
_TEXTS: Final = {"QueryTimeoutError": "(1205, 'Lock wait timeout exceeded; try restarting transaction')"}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Failure(_Model):
    """One answer of Frappe's that is not a success."""

    status: int = Field(500, ge=400, le=599)
    exc_type: str = "QueryTimeoutError"
    text: str | None = Field(None, description="What a hook says when it fails, as that of a Server Script.")

    def error(self, headers: Mapping[str, str] | None = None) -> FrappeError:
        """The answer; with a traceback where that kind of error has one."""
        pythons = hasattr(builtins, self.exc_type) and self.exc_type != "PermissionError"
        name = self.exc_type if pythons else f"frappe.exceptions.{self.exc_type}"
        if self.text is not None:
            said = None if self.status == _INTERNAL else Message(self.text, thrown=True)
            exception, source = (None, None) if self.status == _MISSING else (f"{name}: {self.text}", "Server Script")
            return FrappeError(self.status, self.exc_type, exception, message=said, source=source, headers=headers)
        text = _TEXTS.get(self.exc_type, "caused by a fault")
        exception = None if self.status in _WITHOUT_TRACEBACK else f"{name}: {text}"
        return FrappeError(self.status, self.exc_type, exception, headers=headers)


class FailingDocuments(Failure):
    """Check-ins that a hook, a Server Script or a lock fails, singly and in a batch, or that are slow.

    While one takes its time, no other check-in is stored: its name was given, and the series is locked.
    """

    where: dict[str, str] = Field(default={}, description="Fields and their values; all documents where it is empty.")
    fails: bool = Field(True, description="Not to fail is to be slow only.")
    delay_ms: Milliseconds = Field(0, description="How long the document takes before it fails, or goes on.")
    times: int | None = Field(None, ge=0, description="How often; None is for ever.")

    def concerns(self, document: Mapping[str, Any]) -> bool:
        """Whether it happens to that document now."""
        return self.times != 0 and all(str(document.get(field)) == value for field, value in self.where.items())


class Fault(Failure):
    """Something that happens to requests instead of, or after, what they ask for.

    - `status`: answered by Frappe with `status` and `exc_type`; nothing is done.
    - `html_500`, `html_502`: answered in HTML by what stands in front of Frappe; nothing is done.
    - `close_before`: the connection is closed without an answer; nothing is done.
    - `close_after_write`: done, then the connection is closed without an answer.
    - `slow_answer`: done, then answered after `delay_ms`.
    - `truncated`: done, then the connection is closed in the middle of the answer.
    - `empty`: done, then answered without a body.
    """

    match: str = Field("", description="Part of `METHOD /path`, decoded; empty matches every request.")
    action: Literal[
        "status", "html_500", "html_502", "close_before", "close_after_write", "slow_answer", "truncated", "empty"
    ]
    times: int | None = Field(1, ge=0, description="How often it happens; None is for ever.")
    probability: float = Field(1.0, ge=0, le=1, description="Of happening to a request that matches.")
    retry_after: str | None = Field(None, description="The header of a `status` answer: seconds, or an HTTP date.")
    delay_ms: Milliseconds = 0

    def refusal(self) -> FrappeError:
        """What a `status` fault is answered with."""
        return self.error(None if self.retry_after is None else {"retry-after": self.retry_after})


class RateLimit(_Model):
    """So many requests in each window of `retry_after` seconds; those beyond get 429."""

    remaining: int = Field(0, ge=0)
    retry_after: float = Field(60, gt=0)


class Knobs(_Model):
    """How the stand-in behaves beyond its rules."""

    latency_ms: Milliseconds = Field(0, description="Before each request is looked at.")
    latency_per_document_ms: Milliseconds = Field(
        0, description="For each document inserted, between the check for duplicates and the commit."
    )
    race_window_ms: Milliseconds = Field(
        0, description="Between the check for duplicates and the commit of each request that inserts."
    )
    rate_limit: RateLimit | None = None
    maintenance: Literal["off", "on", "read_only"] = "off"
    database_down: bool = False
    allow_error_traceback: bool = True
    desk: bool = Field(False, description="Whether the app `biometric_integration` is installed.")
    language: Language = Field("en", description="Of messages, where a request does not ask for another.")
    max_body: int | None = Field(None, description="Bytes; a larger one is answered 413 by what stands before Frappe.")
    failing_employees: dict[str, Failure] = Field(
        default={}, description="Whose check-ins fail, and how: by a hook, a Server Script or a User Permission."
    )
    failing_documents: list[FailingDocuments] = Field(
        default=[], description="Which check-ins fail or are slow, and how; all that concern a document happen to it."
    )
    faults: list[Fault] = Field(default=[], description="The first that matches happens.")


class Control:
    """The knobs and what is left of them."""

    def __init__(
        self, knobs: Knobs | None = None, *, seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The behaviour of one stand-in.

        Args:
            knobs: To begin with.
            seed: Of what happens with a probability.
            clock: Seconds, for the windows of the rate limit.
        """
        self._initial = knobs or Knobs()
        self._random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._clock = clock
        self.set(self._initial)

    def set(self, knobs: Knobs) -> None:
        """Turn the knobs; a rate limit starts a new window."""
        self.knobs = knobs.model_copy(deep=True)
        self._window_ends = 0.0
        self._left = 0

    def reset(self) -> None:
        """Turn the knobs to where they were at the start."""
        self.set(self._initial)

    def take_fault(self, request: str) -> Fault | None:
        """The fault that happens to this request (`METHOD /path`), counted as having happened."""
        for fault in self.knobs.faults:
            if fault.times == 0 or fault.match not in request or self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None

    def rate_headers(self) -> dict[str, str]:
        """Count a request, and return the headers that tell what is left.

        Raises:
            FrappeError: nothing was.
        """
        limit = self.knobs.rate_limit
        if limit is None:
            return {}
        now = self._clock()
        if now >= self._window_ends:
            self._window_ends, self._left = now + limit.retry_after, limit.remaining
        seconds = str(math.ceil(self._window_ends - now))
        allowed, self._left = self._left > 0, max(0, self._left - 1)
        headers = {
            "x-ratelimit-reset": seconds,
            "x-ratelimit-limit": str(limit.remaining),
            "x-ratelimit-remaining": str(self._left),
        }
        if not allowed:
            raise errors.too_many_requests(headers | {"retry-after": seconds})
        return headers

    def check_available(self, *, reading: bool) -> None:
        """Return if the site is there at all.

        Raises:
            FrappeError: maintenance, or no database.
            WorkerFailed: no database, and a request that writes.
        """
        if self.knobs.maintenance == "on":
            raise errors.session_stopped()
        if self.knobs.database_down:
            if reading:
                raise errors.database_down()
            raise WorkerFailed

    def trouble_with(self, document: Mapping[str, Any]) -> list[FailingDocuments]:
        """What happens to this document, counted as having happened."""
        failing = self.knobs.failing_employees.get(str(document.get("employee")))
        trouble = [FailingDocuments(**failing.model_dump())] if failing else []
        for each in self.knobs.failing_documents:
            if each.concerns(document):
                each.times = None if each.times is None else each.times - 1
                trouble.append(each)
        return trouble

    def check_writable(self) -> None:
        """Return if something may be written.

        Raises:
            FrappeError: maintenance during which reading is allowed.
        """
        if self.knobs.maintenance == "read_only":
            raise errors.read_only()


class WorkerFailed(Exception):
    """The worker fails outside Frappe, whose server then answers in HTML."""
