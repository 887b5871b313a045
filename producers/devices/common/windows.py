"""Searches by time, cut into windows that a device gives in a few pages, whatever order it gives them in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

Rows_co = TypeVar("Rows_co", covariant=True)


class Search(Protocol[Rows_co]):
    """A search of which the first page was read."""

    @property
    def total(self) -> int:
        """How many records it holds."""

    def pages(self) -> AsyncIterator[Rows_co]:
        """Its records, page by page; raises where they are not as many as it says."""


async def read_windows(
    search: Callable[[datetime, datetime], Awaitable[Search[Rows_co]]], start: datetime, end: datetime, most: int
) -> AsyncIterator[tuple[Rows_co | None, datetime | None]]:
    """All records of `start` to `end`, the older windows first, whatever the order is within one.

    A window that holds more than `most` records is halved, down to a second. Neighbours share their boundary, so that
    nothing is lost whether the device counts it in or not; a record dated there may be in both.

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
        if found.total > most and first < middle < last:
            todo += [(middle, last), (first, middle)]
            yield None, None
            continue
        async for rows in found.pages():
            yield rows, None
        yield None, last
