"""create_app: the Faust application. Topics, the one agent and the release of what waits; wiring only.

Faust keeps the consumer group. What it would lose records with is not used:

- Values are bytes and decoded by us, because Faust acknowledges a record that it cannot decode.
- The stream is `noack`: Faust otherwise acknowledges a record whose agent raised or was cancelled. A step
  acknowledges its chunks itself, once their outcomes and then the deduplication state are in Kafka.
- A buffer of ours collects chunks for the next step while one step is under way, so that there is no time to wait
  for, as `take` has it. `take` also acknowledges what it did not deliver when it is abandoned.
- Outcomes go through our own producer, whose acknowledgements are awaited; Faust's `send` only enqueues and drops what
  fails. The deduplication state is no Faust table, whose changelog goes the same way (`streams/state.py`).
- No exception leaves the agent: what a step cannot survive ends the process, and the records are redelivered.
"""

import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NoReturn

import faust
import structlog
import uvloop
from faust.types import EventT, StreamT

from attendance.guards import Guards
from attendance.health import Health
from attendance.kafka.clients import METADATA_MAX_AGE_MS, connection_options
from attendance.kafka.fleet import FleetTopic
from attendance.kafka.groups import follow_share
from attendance.kafka.producer import Producer
from attendance.kafka.readers import follow, until_there
from attendance.kafka.records import Record
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.runtime import run_until_signalled, was_cancelled
from attendance.settings import KafkaSettings, StreamSettings
from attendance.tracing import OFF, Tracing
from attendance.user_map import UserMap
from streams.open_store import store_opener
from streams.pipeline import Pipeline, Rules
from streams.progress import StreamProgress
from streams.state import DeduplicationState
from streams.step import Step
from streams.transport import Transport
from streams.waiting import Release

log = structlog.get_logger(__name__)

EXIT_FAULT: Final = 70  # EX_SOFTWARE
HANDED_OVER: Final = 2  # chunks between Faust and the agent; what waits for its step is bounded by records


def end_process() -> None:
    """Leave at once. Neither Faust nor Python may still commit anything on the way out."""
    os._exit(EXIT_FAULT)


def create_app(
    kafka: KafkaSettings,
    stream: StreamSettings,
    registry: Registry,
    metrics: Metrics,
    *,
    on_fault: Callable[[], None] = end_process,
    guards: Guards | None = None,
    tracing: Tracing = OFF,
) -> faust.App:
    """The stream application, not started.

    Assumes that the topics exist (`punchstream topics create`) and that the raw topic and the changelog have the same
    number of partitions.

    Args:
        kafka: How to reach Kafka.
        stream: The stream's rules, and where its state is.
        registry: The fleet. It is refreshed once a second.
        metrics: Counts outcomes and what waits.
        on_fault: Called when the process cannot go on. It must not return to a running stream.
        guards: What may keep it from taking a step; None is what `stage_guards` has for the stream.
        tracing: Of what is decided.

    Raises:
        ConfigurationError: a setting is wrong or missing, or what it asks for is not installed.
    """
    producer = Producer(kafka, kafka.client_id("stream"), batches=True)
    fleet = FleetTopic(kafka, registry, "stream")
    progress = StreamProgress(kafka, metrics, producer, guards, fleet)
    guards = progress.guards
    app = faust.App(**faust_settings(kafka, stream))
    buffer = BatchBuffer(stream.stream_batch)
    app.transport = Transport(app, kafka, on_fault, lambda: progress.guards.standing, lambda: buffer.is_full, progress)
    raw = app.topic(kafka.topics["raw"], **_BYTES)
    users = UserMap()
    rules = Rules(stream.punch_window, stream.dedup_horizon, stream.future_tolerance, stream.clock_tolerance)
    open_store = store_opener(stream, kafka.topics["dedup_state"])
    state = DeduplicationState(kafka, producer, stream.dedup_horizon, stream.future_tolerance, open_store)
    state.moves = lambda: progress.moves
    state.is_untouched = progress.raw.is_untouched
    step = Step(Pipeline(rules, users, registry.get), state, producer, kafka.topics, metrics, tracing)
    release = Release(
        users,
        registry.get,
        producer,
        kafka.topics,
        metrics,
        guards=guards,
        warn_users=stream.waiting_users_warn,
    )
    release.moves = lambda: progress.moves
    users_known = follow_beside(app, kafka, release, progress, on_fault, metrics.health)

    async def refresh_registry() -> None:
        await registry.refreshed()

    async def disconnect(_app: faust.App, **_: Any) -> None:
        await producer.stop()

    async def decide(chunks: StreamT[bytes]) -> None:
        ours_to_acknowledge = chunks.noack()

        async def take_steps() -> None:
            await users_known.wait()
            restored = None
            with closing(state):
                while True:
                    arrived = await buffer.take()
                    await guards.until_clear()
                    generation = app.consumer_generation_id
                    if generation != restored:
                        await restore(state, progress, app, metrics.health)
                        restored = generation
                    # What was fetched before a rebalance is somebody else's, or is redelivered.
                    events = [event for event in arrived if event.message.generation_id == generation]
                    await step(by_partition(events))
                    for event in events:
                        await ours_to_acknowledge.ack(event)

        steps = asyncio.create_task(end_process_on_fault(take_steps(), on_fault))
        try:
            async for event in ours_to_acknowledge.events():
                await buffer.put(event)
        finally:
            steps.cancel()

    keep_beside(app, progress, state, fleet, on_fault)
    app.timer(interval=1.0)(refresh_registry)
    app.on_before_shutdown.connect(disconnect)
    app.on_partitions_assigned.connect(buffer.on_partitions_assigned)
    app.agent(raw, name="decide", concurrency=1)(decide)
    return app


class BatchBuffer:
    """The chunks that wait for their step: so many records, and the chunk that is the first to exceed it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._chunks: list[EventT] = []
        self._count = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether a chunk has to wait for room."""
        return self._count >= self._most

    async def put(self, chunk: EventT) -> None:
        """Add a chunk. Waits until there is room."""
        while self.is_full:
            self._taken.clear()
            await self._taken.wait()
        self._chunks.append(chunk)
        self._count += len(chunk.message.value)
        self._arrived.set()

    async def take(self) -> list[EventT]:
        """Wait for chunks, and return all. There may be none."""
        await self._arrived.wait()
        self._arrived.clear()
        chunks, self._chunks, self._count = self._chunks, [], 0
        self._taken.set()
        return chunks

    async def on_partitions_assigned(self, *_: object, **__: object) -> None:
        """End the wait for a chunk: another worker may wait for a lost partition's store, and no chunk come."""
        self._arrived.set()


async def restore(state: DeduplicationState, progress: StreamProgress, app: faust.App, health: Health) -> None:
    """Have the state be that of the partitions that are ours now. Until then the stream is not ready."""
    with health.not_ready("changelog", "the changelog of these partitions is not read yet"):
        await state.catch_up(await progress.until_changelog_is_whole(app))


def follow_beside(
    app: faust.App,
    kafka: KafkaSettings,
    release: Release,
    progress: StreamProgress,
    on_fault: Callable[[], None],
    health: Health,
) -> asyncio.Event:
    """Follow the user map and release what waits, beside the agent.

    Args:
        app: The application whose tasks these become.
        kafka: How to reach Kafka.
        release: Takes in the user map and the waiting punches.
        progress: Knows of adoptions.
        on_fault: Called when the release cannot go on.
        health: Not ready before the user map is known.

    Returns:
        An event that is set once the whole user map is known.
    """
    users_known = asyncio.Event()

    async def follow_users() -> None:
        following = follow(
            kafka,
            kafka.topics["user_map"],
            release.learn,
            client_id=kafka.client_id("stream-users"),
            caught_up=users_known,
        )
        await end_process_on_fault(following, on_fault)

    async def release_waiting() -> None:
        with health.not_ready("user map", "the user map is not read yet"):
            await users_known.wait()
        await progress.until_known()
        share = follow_share(
            kafka,
            kafka.topics["unmapped"],
            kafka.group("waiting"),
            release,
            client_id=kafka.client_id("stream-waiting"),
        )
        await end_process_on_fault(share, on_fault)

    app.task(follow_users)
    app.task(release_waiting)
    return users_known


def keep_beside(
    app: faust.App,
    progress: StreamProgress,
    state: DeduplicationState,
    fleet: FleetTopic,
    on_fault: Callable[[], None],
) -> None:
    """Ask the guards, follow the fleet, and keep the accounts, beside the agent.

    Args:
        app: The application whose tasks these become.
        progress: Has both.
        state: What is accounted for of the changelog.
        fleet: Follows the fleet topic.
        on_fault: Called when one of them ends.
    """

    async def keep_guards() -> None:
        await end_process_on_fault(progress.guards.keep(), on_fault)

    async def follow_accounts() -> None:
        await end_process_on_fault(progress.follow(), on_fault)

    async def account_for_changelog() -> None:
        await end_process_on_fault(progress.account_for_changelog(state), on_fault)

    async def follow_fleet() -> None:
        await end_process_on_fault(fleet.follow(), on_fault)

    for work in (keep_guards, follow_accounts, follow_fleet, account_for_changelog):
        app.task(work)


async def end_process_on_fault(work: Awaitable[None], on_fault: Callable[[], None]) -> None:
    """Await work, and end the process if it raises, or ends although nobody asked it to.

    Args:
        work: Runs until it is cancelled.
        on_fault: Ends the process.
    """
    try:
        await work
    except asyncio.CancelledError:
        if was_cancelled():
            raise
        log.critical("The stream ends, because a part of it was cancelled by nobody.", exc_info=True)
    except BaseException:
        log.critical("The stream ends, because a step failed; its records will be redelivered.", exc_info=True)
    else:
        log.critical("The stream ends, because a part of it ended by itself.")
    on_fault()


def by_partition(chunks: Iterable[EventT]) -> dict[int, list[Record]]:
    """The records of each partition, in order."""
    partitions: dict[int, list[Record]] = defaultdict(list)
    for chunk in chunks:
        partitions[chunk.message.partition] += chunk.message.value
    return partitions


_BYTES: Final[dict[str, Any]] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}


def faust_settings(kafka: KafkaSettings, stream: StreamSettings) -> dict[str, Any]:
    """Faust's settings. It creates no topic, serves no web page, and runs no leader election of its own.

    Args:
        kafka: How to reach Kafka.
        stream: How many records a fetch may bring.
    """
    settings: dict[str, Any] = {
        "id": kafka.group("stream"),
        "broker": [f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        "broker_session_timeout": kafka.session_timeout,
        "broker_heartbeat_interval": kafka.heartbeat_interval,
        # Faust refuses a session timeout above this.
        "broker_request_timeout": max(kafka.session_timeout, 90.0),
        "broker_commit_interval": 1.0,
        "broker_max_poll_records": stream.stream_batch,
        "consumer_auto_offset_reset": "none",
        "consumer_metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "processing_guarantee": "at_least_once",
        "stream_wait_empty": True,
        "stream_buffer_maxsize": HANDED_OVER,
        # Faust makes this directory, although nothing is stored.
        "datadir": Path(tempfile.gettempdir()) / f"faust-{kafka.group('stream')}",
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
    # Faust takes credentials for its own kinds of them, and no other option.
    options = connection_options(kafka, kafka.client_id("stream"))
    context = options["ssl_context"]
    if "sasl_oauth_token_provider" in options:
        settings["broker_credentials"] = faust.OAuthCredentials(
            oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context
        )
    elif "sasl_plain_username" in options:
        settings["broker_credentials"] = faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    elif "sasl_kerberos_service_name" in options:
        settings["broker_credentials"] = faust.GSSAPICredentials(
            kerberos_service_name=options["sasl_kerberos_service_name"],
            kerberos_domain_name=options["sasl_kerberos_domain_name"],
            ssl_context=context,
        )
    elif context is not None:
        settings["broker_credentials"] = faust.SSLCredentials(context)
    return settings


def run(app: faust.App, kafka: KafkaSettings) -> NoReturn:
    """Run a worker until SIGTERM or SIGINT; then finish the step in hand, commit, and exit. Waits for Kafka.

    Args:
        app: What `create_app` made.
        kafka: How to reach Kafka.

    Raises:
        SystemExit: always, with the exit status.
    """
    uvloop.install()
    # Faust ends where it does not find Kafka at the start.
    if not run_until_signalled(until_there(kafka, kafka.topics["raw"], kafka.client_id("stream"))):
        raise SystemExit
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False)
    worker.spinner = None  # it draws on standard output
    worker.execute_from_commandline()
    raise SystemExit  # it never returns, but has no type that says so
