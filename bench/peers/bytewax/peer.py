"""Bytewax with its recovery store: one piece of state for each event id, in SQLite at the end of each epoch."""

import os
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka_op
from bytewax.dataflow import Dataflow
from confluent_kafka import OFFSET_BEGINNING

USERS: dict[str, str] = orjson.loads(Path(os.environ["PEER_USERS"]).read_bytes())
SERVERS = [os.environ["PEER_SERVERS"]]

Event = dict[str, Any]


def decode(message: KafkaSourceMessage[Any, Any]) -> tuple[str, Event]:
    event: Event = orjson.loads(message.value)
    return event["event_id"], event


def first_only(seen: bool | None, event: Event) -> tuple[bool, list[Event]]:  # noqa: FBT001 - Bytewax gives the state
    return True, [] if seen else [event]


def to_message(keyed: tuple[str, Event]) -> KafkaSinkMessage[bytes, bytes]:
    event_id, event = keyed
    employee = USERS[event["device_user_id"]]
    checkin = {
        "event_id": event_id,
        "employee": employee,
        "event_time": event["event_time"],
        "log_type": event["event_type"],
        "device_id": event["device_id"],
        "device_user_id": event["device_user_id"],
        "site": event["site"],
        "device_timezone": event["device_timezone"],
    }
    return KafkaSinkMessage(employee.encode(), orjson.dumps(checkin))


flow = Dataflow("decide")
raw = kafka_op.input(
    "raw", flow, brokers=SERVERS, topics=[os.environ["PEER_RAW"]], starting_offset=OFFSET_BEGINNING, batch_size=1000
)
events = op.map("decode", raw.oks, decode)
new = op.stateful_flat_map("first_only", events, first_only)
messages = op.map("to_message", new, to_message)
kafka_op.output("checkins", messages, brokers=SERVERS, topic=os.environ["PEER_OUT"], add_config={"acks": "all"})
