"""StreamProgress: where the stream begins, whether its changelog is whole, and its accounts. Knows no Faust."""

import asyncio
from collections.abc import Collection
from typing import Any, Final, NoReturn, Protocol

from attendance.adoptions import Moves
from attendance.guards import Guard, Guards
from attendance.kafka.accounts import AccountsTopic
from attendance.kafka.producer import Producer
from attendance.kafka.progress import LOOK_SECONDS, WRITE_SECONDS, Progress
from attendance.kafka.stage_guards import stage_guards
from attendance.metrics import Metrics
from attendance.settings import KafkaSettings
from streams.state import DeduplicationState

STAGE: Final = "stream"


class HasConsumer(Protocol):
    """What a worker's application has."""

    consumer: Any


class StreamProgress:
    """The stream's progress in its two topics.

    Attributes:
        raw: That in the raw topic.
        guards: Those of the stream.
    """

    def __init__(
        self, kafka: KafkaSettings, metrics: Metrics, producer: Producer, guards: Guards | None, *others: Guard
    ) -> None:
        """Nothing is read or asked yet.

        Args:
            kafka: How to reach Kafka.
            metrics: Show what is missing.
            producer: The stream's.
            guards: What may keep the stream from taking a step; None is what `stage_guards` has for it, and this.
            others: Guards of what else the stream knows.
        """
        # A producer of its own, for the stream's is for one caller at a time.
        self._producer = Producer(kafka, kafka.client_id(f"{STAGE}-accounts"))
        self._accounts = AccountsTopic(kafka, self._producer, kafka.client_id(f"{STAGE}-accounts"))
        self.raw = Progress(kafka, STAGE, kafka.topics["raw"], self._accounts, metrics)
        self._changelog = Progress(kafka, STAGE, kafka.topics["dedup_state"], self._accounts, metrics, has_group=False)
        self.guards = guards or stage_guards(STAGE, kafka, metrics, producer, own=[self.raw, self._changelog, *others])
        self.raw.on_change = self._changelog.on_change = self.guards.ask

    async def follow(self) -> None:
        """Take in every account and accepted loss, for ever."""
        await self._accounts.follow()

    async def until_known(self) -> None:
        """Return once every account and adoption is known that was there at the start."""
        await self._accounts.caught_up.wait()

    @property
    def moves(self) -> Moves:
        """Where records are now, by the adoptions."""
        return self._accounts.moves

    async def until_changelog_is_whole(self, app: HasConsumer) -> Collection[int]:
        """Wait while a partition of the changelog lacks what the stream had written there.

        Without it, the repeats of what it had kept would be let through.

        Args:
            app: The application of this worker.

        Returns:
            The partitions that are whole: all that the worker has.
        """
        while True:
            partitions = {tp.partition for tp in app.consumer.assignment()}
            self._changelog.lost(partitions)
            if (await self._changelog.begin(dict.fromkeys(partitions))).keys() == partitions:
                return partitions
            await asyncio.sleep(LOOK_SECONDS)

    async def account_for_changelog(self, state: DeduplicationState) -> NoReturn:
        """Write each minute up to where the changelog is, for ever.

        Args:
            state: Has the partitions that this worker has restored.
        """
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._changelog.write_ends(state.partitions)

    async def close(self) -> None:
        """Disconnect."""
        await self.raw.close()
        await self._changelog.close()
        await self._producer.stop()
