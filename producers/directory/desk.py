"""The desk: what HR and IT keep in ERPNext by the app `biometric_integration`, where that is installed."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

import structlog

from attendance.erpnext import Document, ErpnextClient
from attendance.errors import DocumentRejected, PermissionDenied, RetriableError, TargetUnavailable
from attendance.records.user_map import UserMapping, device_scope, site_scope
from producers.directory.documents import DocumentReader, Listed, Summary

log = structlog.get_logger(__name__)

USER_MAP: Final = "Biometric User Map"
VERSION: Final = "/api/method/biometric_integration.sync.version"
FIELDS: Final = ("name", "device_user_id", "employee", "device", "site", "modified")

NO_METHOD: Final = "ValidationError"
"""What Frappe says of a method that is not there."""

_Listed = TypeVar("_Listed", bound=Listed)


def is_installed(site: ErpnextClient) -> bool:
    """Whether a site has the app. Raises what `ErpnextClient.call` raises.

    A list of a doctype that is not there does not tell: it is refused like one that the user may not read.

    Args:
        site: The ERPNext.
    """
    try:
        site.call("GET", VERSION)
    except DocumentRejected as error:
        if error.kind != NO_METHOD:
            raise
        return False
    return True


class DeskList(Generic[_Listed]):
    """The documents of one doctype of the desk. Its methods raise AccessDenied where the credentials are refused.

    What else fails is logged, so that it holds up nothing that needs other lists.

    Args:
        site: Their ERPNext.
        doctype: Which.
        reader: Reads them.
    """

    def __init__(self, site: ErpnextClient, doctype: str, reader: DocumentReader[_Listed]) -> None:
        self._site = site
        self._doctype = doctype
        self._reader = reader
        self._found: Mapping[str, _Listed] | None = None
        self._summary: Summary | None = None
        self.is_installed = True
        """Whether the app was there when it was last looked for."""
        self._problem = ""

    async def read(self) -> Mapping[str, _Listed] | None:
        """All documents, asked for anew: none where the app is not installed.

        Returns:
            By name; None where ERPNext does not show them, so that nobody knows which there are. The log says so once,
            and it is tried again at the next look.
        """
        try:
            self._found = await self._read()
        except RetriableError as error:
            self._found = None
            self._say(log.warning, "Could not read a list of ERPNext's desk; what is known of it stays.", error)
        except (DocumentRejected, PermissionDenied) as error:
            self._found = None
            self._say(
                log.error,
                "ERPNext does not show a list of its desk; what is known of it stays. "
                "Give the API user the role Biometric Sync.",
                error,
            )
        else:
            self._problem = ""
        return self._found

    async def _read(self) -> Mapping[str, _Listed]:
        self.is_installed = await asyncio.to_thread(is_installed, self._site)
        if not self.is_installed:
            return {}
        # From before the documents are read, so that what changes meanwhile is found by the next look.
        summary = await self._reader.summary()
        found = await self._reader.everything()
        self._summary = summary
        return found

    def _say(self, level: Callable[..., object], sentence: str, error: Exception) -> None:
        if str(error) != self._problem:
            level(sentence, doctype=self._doctype, error=str(error))
        self._problem = str(error)

    async def look(self) -> Mapping[str, _Listed] | None:
        """As `read`, by one small request where nothing has changed. Whether the app is there, `read` alone finds."""
        if not self.is_installed:
            return self._found
        if self._found is not None and self._summary is not None and self._summary.whole:
            with suppress(RetriableError):
                if await self._reader.summary() == self._summary:
                    return self._found
        return await self.read()


@dataclass(frozen=True, slots=True)
class MapRow:
    """A row of the user map. `modified` is naive, in the site's own zone."""

    name: str
    mapping: UserMapping
    modified: datetime


MapRows = Mapping[str, MapRow]


def read_row(document: Document) -> MapRow:
    """The row of a listed document.

    Raises:
        TargetUnavailable: the document cannot be read, so the answer it came with is not to be trusted.
    """
    try:
        device, site = document["device"], document["site"]
        if bool(device) == bool(site):
            raise ValueError("it names either a device or a site")
        scope = device_scope(device) if device else site_scope(site)
        return MapRow(
            document["name"],
            UserMapping(scope, document["device_user_id"].strip(), document["employee"], "erpnext"),
            datetime.fromisoformat(document["modified"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable(f"a row of the user map that cannot be read: {error!r}") from error


def map_rows(site: ErpnextClient) -> DeskList[MapRow]:
    """The rows of the user map of a site.

    Args:
        site: Their ERPNext.
    """
    return DeskList(site, USER_MAP, DocumentReader(site, USER_MAP, FIELDS, read_row))
