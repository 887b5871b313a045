"""What a command needs that puts punches on the raw topic: the publisher, and this machine's clock beside others."""

from attendance.errors import StandingStill
from attendance.kafka.clock_guard import ClockGuard
from attendance.kafka.producer import Producer
from attendance.metrics import Metrics
from attendance.sealing import Seal
from attendance.settings import ClockSettings, KafkaSettings, PushSettings
from producers.publisher import Publisher


def create_publisher(client: str, metrics: Metrics) -> tuple[Publisher, ClockGuard]:
    """The publisher, and what knows whether the clock is right. Whoever makes them stops the publisher.

    Args:
        client: What publishes, such as `import`; with the prefix before it, it is the client id.
        metrics: Where records are counted.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    kafka, seal = KafkaSettings.load(), Seal.load()
    producer = Producer(kafka, kafka.client_id(client), batches=True)
    publisher = Publisher(producer, kafka.topics, metrics, PushSettings.load().max_in_flight, seal=seal)
    return publisher, ClockGuard(kafka, ClockSettings.load(), producer)


async def check_clock(clock: ClockGuard) -> None:
    """Return where this machine's clock may say when punches arrived.

    Args:
        clock: Knows that.

    Raises:
        StandingStill: it may not.
        KafkaUnavailable: Kafka does not answer.
    """
    reason = await clock.find_reason()
    if reason is not None:
        raise StandingStill(reason)
