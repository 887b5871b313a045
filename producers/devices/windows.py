"""Searches by time, cut into windows that a device gives in a few pages, whatever order it gives them in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar


class Search(Protocol):
    """A search of which the first page was read."""

    @property
    def total(self) -> int:
        """How many records it holds."""


Found = TypeVar("Found", bound=Search)


async def windows(
    search: Callable[[datetime, datetime], Awaitable[Found]], start: datetime, end: datetime, most: int
) -> AsyncIterator[tuple[datetime, Found]]:
    """Searches that together cover `start` to `end`, oldest first, each with its end.

    One that holds more than `most` records is halved, down to a second. Neighbours share their boundary, so that
    nothing is lost whether the device counts it in or not; a record dated there may be in both.
    """
    todo = [(start, end)]
    while todo:
        first, last = todo.pop()
        found = await search(first, last)
        middle = first + timedelta(seconds=(last - first) // timedelta(seconds=2))
        if found.total > most and first < middle < last:
            todo += [(middle, last), (first, middle)]
        else:
            yield last, found
