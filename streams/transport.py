"""Faust's Kafka transport, with two losses closed. Both are races between recovery and the running fetcher.

After recovery Faust resumes the stream's partitions, seeks, and then resumes the flow, which empties the agents'
queues: records that arrive in between are thrown away. And it hands the fetcher its live set of active partitions:
while that is empty, aiokafka takes it for "all", and Faust throws away what it did not ask for. A partition without a
committed offset is not sought back in either case, and the next commit passes over the records.

And one bound is corrected: a gap in the offsets ends before the record behind it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Fetches from the stream's partitions only once the flow is resumed, and only from those it was asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held_back: set[TP] = set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume changelog partitions at once, for recovery; hold the others back until the flow is resumed."""
        changelogs = {tp for tp in tps if tp.topic in self.app.tables.changelog_topics}
        self._held_back = set(tps) - changelogs
        super().resume_partitions(changelogs)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Pause these partitions, those held back included."""
        self._held_back -= set(tps)
        super().pause_partitions(tps)

    def resume_flow(self) -> None:
        """Resume the flow, and then the partitions that were held back for it."""
        super().resume_flow()
        super().resume_partitions(self._held_back)
        self._held_back = set()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # Faust counts the record behind a gap as part of it. So that record counts as done before it is, and then a
        # second time, at which the next commit stops short: where every other offset is a marker, at every record.
        await super()._add_gap(tp, offset_from, offset_to - 1)

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Mapping[TP, list[Any]]:
        # A copy: the set may be emptied before the fetcher's thread looks at it.
        records: Mapping[TP, list[Any]] = await super()._getmany(active_partitions and set(active_partitions), timeout)
        return records


class Transport(driver.Transport):  # type: ignore[misc]
    """The transport with that consumer."""

    Consumer = Consumer
