"""stage_guards: the one place that says which guards a stage has."""

from attendance.guards import Guard, Guards
from attendance.kafka.producer import Producer
from attendance.metrics import Metrics
from attendance.settings import KafkaSettings


def stage_guards(stage: str, kafka: KafkaSettings, metrics: Metrics, producer: Producer) -> Guards:  # noqa: ARG001
    """The guards of a stage, nobody asked yet: `Guards.keep` has to run beside the stage's work.

    Args:
        stage: Its name, as its command has it.
        kafka: How to reach Kafka, and what is expected of its topics.
        metrics: Show what stands.
        producer: The stage's own.
    """
    guards: list[Guard] = []
    return Guards(metrics, guards)
