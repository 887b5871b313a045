"""FleetTopic: the fleet topic, followed for the registry of a stage."""

import structlog

from attendance.errors import KafkaUnavailable
from attendance.guards import Cause
from attendance.kafka.readers import follow, why_missing
from attendance.registry import Registry
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)


class FleetTopic:
    """Gives a registry what the fleet topic says. A guard: without the whole fleet a stage takes nothing in.

    Where there is no such topic, or it may not be read, a fleet file counts, as it did before there was a topic. Once
    the topic can be read, it counts too.
    """

    cause: Cause = "fleet"

    def __init__(self, kafka: KafkaSettings, registry: Registry, stage: str) -> None:
        """Nothing is read yet.

        Args:
            kafka: Where the topic is.
            registry: Whose fleet it is. The stage has to have it take up changes.
            stage: Who follows.
        """
        self._kafka = kafka
        self._registry = registry
        self._topic = kafka.topics["fleet"]
        self._client_id = kafka.client_id(f"{stage}-fleet")
        self._mentioned = False

    async def follow(self) -> None:
        """Take in every record, for ever."""
        entries = self._registry.topic
        await follow(self._kafka, self._topic, entries.learn, client_id=self._client_id, caught_up=entries.caught_up)

    async def find_reason(self) -> str | None:
        """None once the stage has the whole fleet. What keeps it from that is no reason to stand still, but unknown.

        Raises:
            KafkaUnavailable: Kafka does not answer, or neither topic nor file lists a device yet.
        """
        registry = self._registry
        if not registry.whole.is_set():
            missing = await why_missing(self._kafka, self._topic, self._client_id)
            if missing is None:
                await registry.whole.wait()
            elif not registry.has_file:
                raise KafkaUnavailable(f"{missing}; and there is no fleet file {registry.path}")
            elif not self._mentioned:
                self._mentioned = True
                log.warning("The fleet topic cannot be read; the fleet file counts.", why=missing)
        if not registry.has_file and not len(registry):
            raise KafkaUnavailable(
                f"no device is known: there is no fleet file {registry.path} (PUNCHSTREAM_DEVICES), and"
                f" {self._topic} is empty; `punchstream fleet apply` writes it"
            )
        return None
