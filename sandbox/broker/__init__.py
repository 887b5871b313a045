"""Brokers for trying out and for tests: one embedded, and Apache Kafka, behind one interface."""

from pathlib import Path
from typing import Literal

from sandbox.broker.base import Broker, BrokerFailed
from sandbox.broker.kafka import Kafka
from sandbox.broker.tansu import Tansu

__all__ = ["Broker", "BrokerFailed", "BrokerKind", "create_broker", "unavailable_reason"]

BrokerKind = Literal["embedded", "kafka"]

_BROKERS: dict[BrokerKind, type[Tansu | Kafka]] = {"embedded": Tansu, "kafka": Kafka}


def create_broker(kind: BrokerKind, directory: Path) -> Broker:
    """A broker that is not started yet.

    Apache Kafka keeps its data in the directory over a stop; the embedded broker keeps none.

    Args:
        kind: Which one.
        directory: An existing directory, for its data and logs.

    Raises:
        BrokerFailed: It cannot be run on this machine.
    """
    return _BROKERS[kind](directory)


def unavailable_reason(kind: BrokerKind) -> str | None:
    """One line that says what is missing for this broker and how to get it, or None when it can be run."""
    return _BROKERS[kind].unavailable_reason()
