"""The table of the memory, which Faust recovers from its changelog; an older value never replaces a newer one.

A worker that was stopped in the middle of a step, and was taken for dead, may write what it knew after its successor
has written more: nothing fences a changelog record. Each value tells how far into the raw topic it reaches, so the
order of the changelog need not be trusted.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import faust
from faust.stores import memory
from faust.types import EventT

from streams import dedup


class Store(memory.Store):  # type: ignore[misc]
    """Faust's store in memory, which recovers the value that reaches furthest."""

    def _create_batch_iterator(
        self,
        mark_as_delete: Callable[[Any], None],
        to_key: Callable[[Any], Any],
        to_value: Callable[[Any], Any],
        batch: Iterable[EventT],
    ) -> Iterator[tuple[bytes, bytes]]:
        # Faust puts each entry into `data` before it asks for the next.
        for key, value in super()._create_batch_iterator(mark_as_delete, to_key, to_value, batch):
            if dedup.reaches(value) >= dedup.reaches(self.data.get(key)):
                yield key, value


class Table(faust.Table):  # type: ignore[misc]
    """A table on such a store."""

    def _new_store(self) -> Store:
        store: Store = Store(
            self.app.conf.store,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            value_type=self.value_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
        )
        return store
