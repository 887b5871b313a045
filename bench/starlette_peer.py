"""`python -m bench.starlette_peer`: bare Starlette that puts what is posted on Kafka, acknowledged, and no more.

It checks no token, no field and no size. uvicorn with uvloop and httptools, as the product.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TOPIC = os.environ["PEER_RAW"]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The producer lives as long as the application."""
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["PEER_SERVERS"], acks="all", enable_idempotence=True, max_batch_size=131_072
    )
    await producer.start()
    app.state.producer = producer
    yield
    await producer.stop()


async def events(request: Request) -> Response:
    """One record for each event, all acknowledged before the answer."""
    batch = orjson.loads(await request.body())
    producer: AIOKafkaProducer = request.app.state.producer
    key = batch["device_id"].encode()
    sent = [await producer.send(TOPIC, orjson.dumps(event), key=key) for event in batch["events"]]
    await asyncio.gather(*sent)
    return Response(orjson.dumps({"ok": True, "inserted": len(sent)}), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/v1/events", events, methods=["POST"])], lifespan=lifespan),
        host="127.0.0.1",
        port=int(os.environ["PUSH_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
