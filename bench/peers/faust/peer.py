"""An ordinary Faust agent, as the tutorials write it: models, a table, awaited sends."""

import json
import os
from pathlib import Path

import faust

USERS: dict[str, str] = json.loads(Path(os.environ["PEER_USERS"]).read_text())


class Punch(faust.Record, serializer="json"):
    event_id: str
    device_id: str
    site: str
    device_user_id: str
    event_type: str
    event_time: str
    device_timezone: str


class Checkin(faust.Record, serializer="json"):
    event_id: str
    employee: str
    event_time: str
    log_type: str
    device_id: str
    device_user_id: str
    site: str
    device_timezone: str


app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_SERVERS']}",
    store="memory://",
    datadir=os.environ["PEER_STATE"],
    topic_partitions=int(os.environ["PEER_PARTITIONS"]),
    broker_session_timeout=300,
    broker_request_timeout=300,
)
raw = app.topic(os.environ["PEER_RAW"], key_type=bytes, value_type=Punch)
checkins = app.topic(os.environ["PEER_OUT"], key_type=str, value_type=Checkin)
seen = app.Table("seen", default=bool)


@app.agent(raw)
async def decide(punches: faust.Stream[Punch]) -> None:
    async for punch in punches:
        if seen[punch.event_id]:
            continue
        employee = USERS[punch.device_user_id]
        await checkins.send(
            key=employee,
            value=Checkin(
                event_id=punch.event_id,
                employee=employee,
                event_time=punch.event_time,
                log_type=punch.event_type,
                device_id=punch.device_id,
                device_user_id=punch.device_user_id,
                site=punch.site,
                device_timezone=punch.device_timezone,
            ),
        )
        seen[punch.event_id] = True


app.main()
