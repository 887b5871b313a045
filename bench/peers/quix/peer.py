"""Quix Streams with durable state: RocksDB beside a changelog topic."""

import os
from pathlib import Path
from typing import Any

import orjson
from quixstreams import Application, State

USERS: dict[str, str] = orjson.loads(Path(os.environ["PEER_USERS"]).read_bytes())


def is_new(event: dict[str, Any], state: State) -> bool:
    event_id = event["event_id"]
    if state.get(event_id):
        return False
    state.set(event_id, True)
    return True


def to_checkin(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "event_id": event["event_id"],
        "employee": USERS[event["device_user_id"]],
        "event_time": event["event_time"],
        "log_type": event["event_type"],
        "device_id": event["device_id"],
        "device_user_id": event["device_user_id"],
        "site": event["site"],
        "device_timezone": event["device_timezone"],
    }


def main() -> None:
    app = Application(
        broker_address=os.environ["PEER_SERVERS"],
        consumer_group=os.environ["PEER_GROUP"],
        auto_offset_reset="earliest",
        state_dir=os.environ["PEER_STATE"],
        commit_interval=1.0,
        consumer_extra_config={"session.timeout.ms": 300_000},
        producer_extra_config={"acks": "all"},
        loglevel="WARNING",
    )
    raw = app.topic(os.environ["PEER_RAW"], value_deserializer="json")
    checkins = app.topic(os.environ["PEER_OUT"], value_serializer="json")
    events = app.dataframe(raw)
    events = events.filter(is_new, stateful=True).apply(to_checkin)
    events.to_topic(checkins, key=lambda checkin: checkin["employee"].encode())
    app.run()


main()
