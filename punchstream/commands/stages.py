"""The commands that run one stage: `push`, `pull`, `directory`, `stream`, `sink`, `completeness` and `ledger`."""

import asyncio
import gc
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import structlog
import typer

from attendance import logs
from attendance.errors import ConfigurationError
from attendance.guards import Guards
from attendance.health import PORTS, STARTING
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.runtime import end_at_stop_signals, run_with_stop
from attendance.sealing import Seal
from attendance.settings import (
    CommonSettings,
    CompletenessSettings,
    DirectorySettings,
    ErpnextSettings,
    KafkaSettings,
    PullSettings,
    PushSettings,
    SinkSettings,
    StreamSettings,
)
from attendance.times import TZDATA
from attendance.topics import Stage
from attendance.tracing import open_tracing
from ledger.settings import LedgerSettings
from punchstream.commands.ledger_database import open_database
from punchstream.commands.settings import is_set, misspelt
from punchstream.output import say

log = structlog.get_logger(__name__)

YOUNG_OBJECTS: Final = 50_000  # between two looks for garbage


def begin(name: str) -> tuple[CommonSettings, Metrics]:
    """What every stage's process begins with: signals, logs, metrics and health.

    Raises:
        ConfigurationError: a setting is wrong, or `METRICS_PORT` is taken.
    """
    # Whoever sees that its health port answers may stop it: its exit status is then no failure.
    end_at_stop_signals()
    # What a step or a request makes lives for as long as that and is no garbage, and Python's defaults would have it
    # and all modules looked through again and again: half of the stream's time, a third of push's.
    gc.set_threshold(YOUNG_OBJECTS)
    gc.freeze()
    common = CommonSettings.load()
    logs.configure(common.log_level, common.log_format, stage=name)
    for wrong, meant in misspelt(Path(".env")).items():
        log.warning("A name looks like a setting and is none; its value is ignored.", setting=wrong, meant=meant)
    metrics = Metrics(name)
    if name in PORTS:
        metrics.ready(STARTING, f"{name} has only begun")
    _serve_health(name, common, metrics)
    return common, metrics


def _serve_health(name: str, common: CommonSettings, metrics: Metrics) -> None:
    if common.metrics_port is not None:
        metrics.serve(common.metrics_host, common.metrics_port)
        return
    try:
        metrics.serve(common.metrics_host, PORTS.get(name, 0))
    except ConfigurationError as error:
        # A second one on this machine delivers punches all the same: nobody has asked for that port.
        log.warning("Nothing is served about this process; METRICS_PORT gives it a port of its own.", error=str(error))


def topics_checked(stage: Stage) -> KafkaSettings:
    """Logs the start of a stage whose settings are right, and looks at its topics.

    Returns:
        How to reach Kafka, once the topics are known to lose nothing, or Kafka does not answer yet.

    Raises:
        ConfigurationError: a setting or a topic is wrong; the message names it, and the command that mends it.
    """
    from attendance.kafka.topics_guard import refuse_wrong_topics

    kafka = KafkaSettings.load()
    log.info("Starting.", version=version("punchstream"), tzdata=TZDATA)
    asyncio.run(refuse_wrong_topics(stage, kafka))
    return kafka


def push() -> None:
    """The HTTP way in: terminals post their punches."""
    from producers.push.server import serve

    common, metrics = begin("push")
    settings, registry, seal = (
        PushSettings.load(),
        Registry.load(common),
        Seal.load(),
    )
    tracing = open_tracing("push")
    serve(topics_checked("push"), settings, registry, metrics, seal, tracing)


def pull() -> None:
    """The way in of devices that are asked: this process's share of them."""
    from producers.pull.share import run

    common, metrics = begin("pull")
    registry = Registry.load(common)

    settings, payload_fields, seal = PullSettings.load(), PushSettings.load().payload_fields, Seal.load()
    tracing = open_tracing("pull")
    kafka = topics_checked("pull")
    run_with_stop(lambda stop: run(kafka, settings, registry, payload_fields, metrics, stop, seal, tracing))


def directory(
    *,
    force: Annotated[bool, typer.Option(help="Remove as many entries as ERPNext no longer has, once.")] = False,
) -> None:
    """Keep the user map in step with ERPNext's employees; and the fleet and the user map with its desk."""
    from operations.desk_fleet import keep_desk_fleet
    from operations.desk_live import keep_desk_live
    from operations.log import KafkaLog
    from producers.directory.sync import run

    _, metrics = begin("directory")
    erpnext, settings = ErpnextSettings.load(), DirectorySettings.load()
    kafka = topics_checked("directory")
    topics = KafkaLog(kafka, "directory-desk")

    def fleet(guards: Guards) -> Coroutine[Any, Any, NoReturn]:
        return keep_desk_fleet(erpnext, topics, settings, guards, force=force)

    def live(guards: Guards) -> Coroutine[Any, Any, NoReturn]:
        return keep_desk_live(erpnext, topics, settings, guards)

    run_with_stop(lambda stop: run(kafka, erpnext, settings, metrics, stop, force=force, beside=[fleet, live]))


def stream() -> None:
    """Remove duplicates and repeats, and find each punch's employee."""
    from streams.app import create_app, run

    common, metrics = begin("stream")
    settings = StreamSettings.load()
    registry = Registry.load(common)
    tracing = open_tracing("stream")
    kafka = topics_checked("stream")
    run(create_app(kafka, settings, registry, metrics, tracing=tracing), kafka)


def sink() -> None:
    """Write check-ins to the target."""
    from sinks.delivery.runner import run
    from sinks.targets import create_target

    _, metrics = begin("sink")
    settings = SinkSettings.load()
    target = create_target(settings)
    tracing = open_tracing("sink")
    kafka = topics_checked("sink")
    run_with_stop(lambda stop: run(kafka, settings, target, metrics, stop, tracing=tracing))


def completeness() -> None:
    """Tell ERPNext up to when each shift's devices are complete."""
    from sinks.completeness.runner import run

    common, metrics = begin("completeness")
    registry = Registry.load(common)
    erpnext, settings = ErpnextSettings.load(), CompletenessSettings.load()
    kafka = topics_checked("completeness")
    run_with_stop(lambda stop: run(kafka, erpnext, settings, registry, metrics, stop))


def ledger(
    *,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the ledger, and end. The next start makes it anew.")
    ] = False,
) -> None:
    """Keep what the topics say in a SQL database: every punch, and what became of it.

    Stop the ledger before you delete it. The topics are not touched.
    """
    settings = LedgerSettings.load()
    database = open_database(settings)
    if delete:
        database.delete()
        say("The ledger is deleted.")
        return
    from ledger.nightly import nightly
    from ledger.runner import run
    from operations.day_in_erpnext import Erpnext

    _, metrics = begin("ledger")
    kafka = topics_checked("ledger")
    beside = None
    if settings.reconcile_at is not None:
        in_erpnext = Erpnext(ErpnextSettings.load()).which if is_set("ERPNEXT_URL") else None
        beside = nightly(kafka, database, settings.reconcile_at, in_erpnext, metrics)
    run_with_stop(lambda stop: run(kafka, database, settings.days, metrics, stop, beside))
