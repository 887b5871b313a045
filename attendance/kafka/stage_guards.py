"""stage_guards: the one place that says which guards a stage has."""

from collections.abc import Iterable

from attendance.guards import Guard, Guards
from attendance.kafka.clock_guard import ClockGuard
from attendance.kafka.producer import Producer
from attendance.kafka.topics_guard import TopicsGuard
from attendance.metrics import Metrics
from attendance.server_clock import ClockReader
from attendance.settings import ClockSettings, KafkaSettings
from attendance.topics import Stage


def reader_guards(stage: Stage, kafka: KafkaSettings, metrics: Metrics, *, own: Iterable[Guard] = ()) -> Guards:
    """The guards of a stage that writes nothing to Kafka. By its clock nothing is dated, so nobody compares that.

    Args:
        stage: Its name, as its command has it.
        kafka: How to reach Kafka, and what is expected of its topics.
        metrics: Show what stands.
        own: Guards of what the stage itself knows.
    """
    return Guards(metrics, [TopicsGuard(stage, kafka), *own])


def stage_guards(
    stage: Stage,
    kafka: KafkaSettings,
    metrics: Metrics,
    producer: Producer,
    *other_clocks: ClockReader,
    own: Iterable[Guard] = (),
) -> Guards:
    """The guards of a stage, nobody asked yet: `Guards.keep` has to run beside the stage's work.

    Args:
        stage: Its name, as its command has it.
        kafka: How to reach Kafka, and what is expected of its topics.
        metrics: Show what stands.
        producer: The stage's own.
        other_clocks: Clocks that the stage can ask beside the broker's.
        own: Guards of what the stage itself knows.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    guards: list[Guard] = [
        TopicsGuard(stage, kafka),
        ClockGuard(kafka, ClockSettings.load(), producer, other_clocks),
        *own,
    ]
    return Guards(metrics, guards)
