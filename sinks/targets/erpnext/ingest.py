"""Fast ingest: many documents in one request, each with an outcome of its own, where the site has the app for it.

The app `biometric_integration` stores each document or refuses it as its own `insert` would. Without the app documents
go by `insert_many`, which is all or nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from attendance.erpnext import EVENT_ID_FIELD, MAX_INSERT_MANY, Document, ErpnextClient, to_error
from attendance.errors import DocumentRejected, PermissionDenied, PunchstreamError, RequestAbandoned, ServerError
from sinks.targets.base import Delivered

log = structlog.get_logger(__name__)

DESCRIBE: Final = "/api/method/biometric_integration.ingest.api.describe"
REQUEST_TOO_LARGE: Final = 413  # the answer of a proxy: ERPNext has not seen the request
INSERT: Final = "/api/method/biometric_integration.ingest.api.insert"

Outcome = Delivered | PunchstreamError | None
"""What became of one document: it is there; the error that its own `insert` ends with; None, if it was not tried."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """What a site says of its fast ingest.

    Attributes:
        most: Documents in one request.
        why: Why they do not go in bulk there, for people. None where they do.
    """

    most: int
    why: tuple[str, ...] = ()


def look_for_ingest(client: ErpnextClient) -> Ingest | None:
    """Ask a site for its fast ingest.

    Args:
        client: Of a user who may create Employee Checkin.

    Returns:
        What it says; None where it has none, or does not say it.

    Raises:
        TargetUnavailable, AccessDenied: As `ErpnextClient.call`.
    """
    try:
        answer = client.call("GET", DESCRIBE)["message"]
        return Ingest(int(answer["most"]), () if answer["bulk"] else tuple(map(str, answer["why"])))
    except (DocumentRejected, PermissionDenied, ServerError, KeyError, TypeError, ValueError):
        return None


class IngestGuard:
    """Knows whether the site has fast ingest. Used by several threads; the worst of that is a question too many."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._found: Ingest | None = None

    @property
    def is_there(self) -> bool:
        """Whether documents may be given to `insert`."""
        return self._found is not None

    @property
    def most(self) -> int:
        """The most documents of one request. Where they do not go in bulk, those that `insert_many` takes."""
        return self._found.most if self._found is not None and not self._found.why else MAX_INSERT_MANY

    def look(self, client: ErpnextClient) -> None:
        """Ask anew. Raises what `look_for_ingest` raises."""
        before, self._found = self._found, look_for_ingest(client)
        if self._found is not None and self._found.why and self._found != before:
            log.info("Fast ingest stores check-ins one by one on this site.", why=list(self._found.why))

    def insert(self, client: ErpnextClient, documents: Sequence[Document]) -> list[Outcome] | None:
        """Store documents, each for itself.

        Args:
            client: The site.
            documents: Those of one request, each with its event_id.

        Returns:
            What became of each, in order; None where the site refuses the request itself, so that nothing was stored.

        Raises:
            PunchstreamError: What `ErpnextClient.call` raises. `RequestAbandoned` too, where the answer leaves one out.
        """
        try:
            answer = client.call("POST", INSERT, {"checkins": list(documents)}).get("message")
        except DocumentRejected as error:
            if error.status == REQUEST_TOO_LARGE:
                raise
            log.warning("Fast ingest refused a request; sending check-ins by insert_many.", error=str(error))
            self.look(client)
            return None
        given = answer.get("outcomes") if isinstance(answer, dict) else None
        found = given if isinstance(given, list) and len(given) == len(documents) else []
        ids = [each.get(EVENT_ID_FIELD) if isinstance(each, dict) else None for each in found]
        if ids != [document[EVENT_ID_FIELD] for document in documents]:
            raise RequestAbandoned("an answer without an outcome of each check-in")
        return [_read(each) for each in found]


def _read(outcome: Mapping[str, Any]) -> Outcome:
    match outcome:
        case {"outcome": "inserted", "name": str(name)}:
            return Delivered(name, "created")
        case {"outcome": "exists", "name": str(name)}:
            return Delivered(name, "already_there")
        case {"outcome": "refused", "status": int(status), "exc_type": str(kind)}:
            return to_error(status, kind, str(outcome.get("message") or ""))
        case {"outcome": "skipped"}:
            return None
    raise RequestAbandoned(f"an outcome of a check-in that cannot be read: {str(outcome)[:200]}")
