"""Documents of one doctype of ERPNext: all of them, what changed, and a summary by which a change is noticed."""

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from attendance.erpnext import Document, ErpnextClient, Filter
from attendance.errors import DocumentRejected, PermissionDenied, ServerError, TargetUnavailable
from producers.directory.window import window

PAGE: Final = 500
_NOT_COMPUTED: Final = (DocumentRejected, PermissionDenied, ServerError)
# Computed by the database from the index on `modified`, in less time than a count of the rows takes.
SUMMARY: Final = ("count(name) as n", "sum(crc32(name)) as names", "sum(crc32(modified)) as modified")


class Listed(Protocol):
    """A document as ERPNext lists it. `modified` is naive, in the site's own zone."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def modified(self) -> datetime:
        """When it was changed last."""


_Listed = TypeVar("_Listed", bound=Listed)


@dataclass(frozen=True, slots=True)
class Summary:
    """Documents in three numbers: how many there are, and sums of checksums of their names and of `modified`.

    With all three, it is another after any change: of a document, a removal, a rename, a merge, a number used again.
    """

    count: int
    names: int | None = None
    modified: int | None = None

    @property
    def whole(self) -> bool:
        """Whether ERPNext computed more than the count."""
        return self.names is not None

    def fits(self, documents: Mapping[str, Listed]) -> bool:
        """Whether these are the documents that it is of, as far as it tells."""
        if not self.whole:
            return self.count == len(documents)
        times = (each.modified.isoformat(sep=" ", timespec="microseconds") for each in documents.values())
        return self == Summary(len(documents), sum(map(_checksum, documents)), sum(map(_checksum, times)))


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())


class DocumentReader(Generic[_Listed]):
    """Reads documents page by page. Its methods raise what `ErpnextClient.call` raises.

    Args:
        site: Their ERPNext.
        doctype: Which documents.
        fields: Which of their fields, `name` and `modified` among them.
        read: Makes one of a listed document. Raises TargetUnavailable where that cannot be read.
        page: How many are asked for at a time.
        site_zone: Gives the zone of ERPNext's naive times, or None while that is in doubt.
    """

    def __init__(
        self,
        site: ErpnextClient,
        doctype: str,
        fields: Sequence[str],
        read: Callable[[Document], _Listed],
        page: int = PAGE,
        site_zone: Callable[[], ZoneInfo | None] = lambda: None,
    ) -> None:
        self._site = site
        self._doctype = doctype
        self._fields = fields
        self._read = read
        self._page = page
        self._site_zone = site_zone
        self._sums = True

    async def everything(self) -> dict[str, _Listed]:
        """Every document, by name. What is there from beginning to end is found, whatever else changes meanwhile."""
        self._sums = True  # the site may be another version by now
        found: dict[str, _Listed] = {}
        after: list[Filter] = []
        while True:
            page = await self._list(filters=after, order_by="name asc", limit=self._page)
            found |= {each.name: each for each in page}
            if len(page) < self._page:
                return found
            after = [("name", ">", page[-1].name)]

    async def changed(self, known: Mapping[str, _Listed], last: datetime, now: datetime) -> dict[str, _Listed]:
        """The documents that changed between two instants, and some more.

        Those at a page's edge are read twice, none is missed. A `modified` in the future stands in no one's way.

        Args:
            known: The documents as they were read before.
            last: When that began.
            now: When this begins.
        """
        since, until = window(last, now, self._site_zone())
        # Not all clocks are right: whatever is younger than the youngest that is known counts, too.
        past = [each.modified for each in known.values() if each.modified <= until]
        since = min(since, max(past, default=since) + timedelta.resolution)
        found: dict[str, _Listed] = {}
        start = 0
        while True:
            page = await self._list(
                filters=[("modified", ">=", str(since)), ("modified", "<=", str(until))],
                order_by="modified asc, name asc",
                start=start,
                limit=self._page,
            )
            found |= {each.name: each for each in page}
            if len(page) < self._page:
                return found
            # A change moves its row to the end and every later row up, so rows are counted off only among equal times.
            newest = page[-1].modified
            since, start = (since, start + self._page) if newest == since else (newest, 0)

    async def summary(self) -> Summary | None:
        """All documents in one small answer: as much of it as this ERPNext computes, None where that is nothing."""
        if self._sums:
            try:
                rows = await asyncio.to_thread(self._site.get_list, self._doctype, SUMMARY)
                return Summary(*(int(rows[0][name] or 0) for name in ("n", "names", "modified")))
            except _NOT_COMPUTED:
                self._sums = False  # as version 16 of Frappe, and other databases
            except (IndexError, KeyError, TypeError, ValueError) as error:
                raise TargetUnavailable(f"a summary of documents that cannot be read: {error!r}") from error
        try:
            return Summary(await asyncio.to_thread(self._site.count, self._doctype))
        except _NOT_COMPUTED:
            return None

    async def _list(self, **options: Any) -> list[_Listed]:
        rows = await asyncio.to_thread(self._site.get_list, self._doctype, self._fields, **options)
        return [self._read(row) for row in rows]
