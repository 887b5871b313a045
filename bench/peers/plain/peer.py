"""The plain loop: decode, a set for repeats, look up, encode, produce; it keeps nothing that survives it."""

import os
from pathlib import Path

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

USERS: dict[str, str] = orjson.loads(Path(os.environ["PEER_USERS"]).read_bytes())


async def main() -> None:
    servers = os.environ["PEER_SERVERS"]
    consumer = AIOKafkaConsumer(
        os.environ["PEER_RAW"],
        bootstrap_servers=servers,
        group_id=os.environ["PEER_GROUP"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=300_000,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    out = os.environ["PEER_OUT"]
    await consumer.start()
    await producer.start()
    seen: set[str] = set()
    uncommitted = False
    while True:
        fetched = await consumer.getmany(timeout_ms=200)
        if not fetched and uncommitted:
            await producer.flush()
            await consumer.commit()
        uncommitted = bool(fetched)
        for records in fetched.values():
            for record in records:
                event = orjson.loads(record.value)
                event_id = event["event_id"]
                if event_id in seen:
                    continue
                seen.add(event_id)
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
                await producer.send(out, orjson.dumps(checkin), key=employee.encode())


uvloop.run(main())
