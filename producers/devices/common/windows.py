"""Searches by time, cut into windows that a device gives in a few pages, whatever order it gives them in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from attendance.errors import UnreadableAnswer

Rows_co = TypeVar("Rows_co", covariant=True)

PASSES: Final = 10
"""How often a search is read that cannot be halved, until all of it has come."""


class Incomplete(UnreadableAnswer):
    """Pages held fewer records than they should: those of one time change places from page to page."""


class Search(Protocol[Rows_co]):
    """A search of which the first page was read."""

    @property
    def total(self) -> int:
        """How many records it holds."""

    def pages(self) -> AsyncIterator[Rows_co]:
        """Its records, page by page, from the first at each call; raises where they are not as many as it says.

        Raises:
            Incomplete: some may have stood on another page when that was read. Those of earlier calls count.
        """


async def read_windows(
    search: Callable[[datetime, datetime], Awaitable[Search[Rows_co]]], start: datetime, end: datetime, most: int
) -> AsyncIterator[tuple[Rows_co | None, datetime | None]]:
    """All records of `start` to `end`, the older windows first, whatever the order is within one.

    A window that holds more than `most` records is halved, down to a second. Neighbours share their boundary, so that
    nothing is lost whether the device counts it in or not; a record dated there may be in both.

    So is a window of which some records did not come, until what is left of it fits on one page. One that cannot be
    halved is read up to `PASSES` times. What has come by then may come again.

    Args:
        search: Begins a search of the records from one time to another.
        start: Where to begin.
        end: Where to end.
        most: Records that one window may hold.

    Yields:
        A page of records and None; None and a time, when everything before that was read; or twice None after a
        question that was only needed to find the way, so that each answer is heard of as it comes.
    """
    todo = [(start, end)]
    while todo:
        first, last = todo.pop()
        found = await search(first, last)
        middle = first + timedelta(seconds=(last - first) // timedelta(seconds=2))
        splits = first < middle < last
        whole = not (found.total > most and splits)
        for number in range(PASSES if whole else 0):
            try:
                async for rows in found.pages():
                    yield rows, None
                break
            except Incomplete:
                whole = not splits
                if splits:
                    break
                if number == PASSES - 1:
                    raise
        if not whole:
            todo += [(middle, last), (first, middle)]
        yield None, last if whole else None
