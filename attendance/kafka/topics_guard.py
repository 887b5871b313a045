"""TopicsGuard: a stage whose topics would lose or misroute records refuses to start, and stands still while it runs."""

import asyncio
from typing import Final

import structlog

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.guards import Cause
from attendance.kafka.placement import misplaced
from attendance.kafka.topic_facts import check_topics
from attendance.settings import KafkaSettings
from attendance.topic_findings import Finding
from attendance.topics import USED_BY, Stage

log = structlog.get_logger(__name__)

START_SECONDS: Final = 10.0
"""For one look at the start. If Kafka does not answer, the guard looks later."""

PLACES_SECONDS: Final = 60.0
"""For a look at where the punches are."""

MOST: Final = 3  # findings in one line


class TopicsGuard:
    """Compares a stage's topics with what the broker says of them.

    A topic that is missing is no reason: nothing can be lost on it, and whoever needs it waits for it and says so.
    """

    cause: Cause = "topics"

    def __init__(self, stage: Stage, settings: KafkaSettings) -> None:
        """Nothing is asked yet.

        Args:
            stage: Whose topics.
            settings: How to reach Kafka, and what topics have to be.
        """
        self._stage = stage
        self._settings = settings
        self._mentioned: list[Finding] = []

    async def find_reason(self) -> str | None:
        """Why the stage may not work now, by topic, value found, value wanted and the command that mends it; or None.

        What is unwise, and what may not be looked at, is logged when it is new.

        Raises:
            KafkaUnavailable: Kafka does not answer.
            ConfigurationError: a setting is wrong.
        """
        client_id = self._settings.client_id(f"{self._stage}-topics")
        found = await check_topics(self._settings, sorted(USED_BY[self._stage]), client_id)
        mentioned = [each for each in found if each.severity != "refuses"]
        if mentioned != self._mentioned:
            self._mentioned = mentioned
            for each in mentioned:
                log.warning("A topic is not what it should be.", severity=each.severity, finding=str(each))
        refusals = [str(each) for each in found if each.severity == "refuses" and each.what != "topic"]
        if not refusals:
            return None
        more = [f"and {len(refusals) - MOST} more: `punchstream topics describe`"] if len(refusals) > MOST else []
        return "; ".join([*refusals[:MOST], *more])


async def refuse_wrong_topics(stage: Stage, settings: KafkaSettings) -> None:
    """Return where a stage may start. Where Kafka does not answer soon, it may: its guard looks again.

    Args:
        stage: Which stage.
        settings: How to reach Kafka, and what topics have to be.

    Raises:
        ConfigurationError: with its topics it would lose or misroute records, or a setting is wrong.
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            reason = await TopicsGuard(stage, settings).find_reason()
        if reason is None and stage == "stream":
            # Once: the number is read at the start.
            async with asyncio.timeout(PLACES_SECONDS):
                reason = await misplaced(settings, settings.client_id("stream-topics"))
    except (KafkaUnavailable, TimeoutError) as error:
        log.info("Topics are not compared yet; Kafka does not answer.", error=str(error))
        return
    if reason is not None:
        raise ConfigurationError(reason)
