"""Faust's Kafka transport, with three losses closed. All are races between a rebalance and the running fetcher.

After recovery Faust resumes the stream's partitions, seeks, and then resumes the flow, which empties the agents'
queues: records that arrive in between are thrown away. And it hands the fetcher its live set of active partitions:
while that is empty, aiokafka takes it for "all", and Faust throws away what it did not ask for. A partition without a
committed offset is not sought back in either case, and the next commit passes over the records.

A worker that keeps a partition over a rebalance may fetch from it before it hears of the new assignment. Faust throws
that away as of an older generation, and seeks back, but not a partition without a committed offset: there the records
are skipped until the process ends. A first commit that failed is enough for it.
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

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek each partition to its committed offset, those of the stream that have none to their beginning.

        Returns the committed offset of each partition, None where there is none.
        """
        committed: Mapping[TP, int] = await super().seek_to_committed()
        changelogs = self.app.tables.changelog_topics
        never = [tp for tp, offset in committed.items() if not offset and tp.topic not in changelogs]
        if never:
            await self.seek_wait(await self.earliest_offsets(*never))
            for tp in never:
                # Where a commit failed Faust still goes by it, and would not take what was before for acknowledged.
                self._committed_offset.pop(tp, None)
        return committed

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
