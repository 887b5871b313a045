"""stage_guards: the one place that says which guards a stage has."""

from attendance.guards import Guard, Guards
from attendance.kafka.producer import Producer
from attendance.kafka.topics_guard import TopicsGuard
from attendance.metrics import Metrics
from attendance.settings import KafkaSettings
from attendance.topics import Stage


def stage_guards(stage: Stage, kafka: KafkaSettings, metrics: Metrics, producer: Producer) -> Guards:  # noqa: ARG001
    """The guards of a stage, nobody asked yet: `Guards.keep` has to run beside the stage's work.

    Args:
        stage: Its name, as its command has it.
        kafka: How to reach Kafka, and what is expected of its topics.
        metrics: Show what stands.
        producer: The stage's own.
    """
    guards: list[Guard] = [TopicsGuard(stage, kafka)]
    return Guards(metrics, guards)
