"""The commands that run one stage: `push`, `pull`, `directory`, `stream`, `sink` and `completeness`."""

import gc
from typing import Annotated, Final

import typer

from attendance import logs
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.runtime import run_with_stop
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

YOUNG_OBJECTS: Final = 50_000  # between two looks for garbage


def begin(name: str) -> tuple[CommonSettings, Metrics]:
    """What every stage's process begins with: logs and metrics."""
    # What a step or a request makes lives for as long as that and is no garbage, and Python's defaults would have it
    # and all modules looked through again and again: half of the stream's time, a third of push's.
    gc.set_threshold(YOUNG_OBJECTS)
    gc.freeze()
    common = CommonSettings.load()
    logs.configure(common.log_level, common.log_format, stage=name)
    metrics = Metrics()
    metrics.serve(common.metrics_host, common.metrics_port)
    return common, metrics


def push() -> None:
    """The HTTP way in: terminals post their punches."""
    from producers.push.server import serve

    common, metrics = begin("push")
    serve(KafkaSettings.load(), PushSettings.load(), Registry(common.punchstream_devices), metrics)


def pull() -> None:
    """The way in of devices that are asked: this process's share of them."""
    from producers.pull.share import run

    common, metrics = begin("pull")
    registry = Registry(common.punchstream_devices)

    payload_fields = PushSettings.load().payload_fields
    run_with_stop(lambda stop: run(KafkaSettings.load(), PullSettings.load(), registry, payload_fields, metrics, stop))


def directory(
    *,
    force: Annotated[bool, typer.Option(help="Remove as many entries as ERPNext no longer has, once.")] = False,
) -> None:
    """Keep the user map in step with ERPNext's employees."""
    from producers.directory.sync import run

    _, metrics = begin("directory")
    run_with_stop(
        lambda stop: run(
            KafkaSettings.load(), ErpnextSettings.load(), DirectorySettings.load(), metrics, stop, force=force
        )
    )


def stream() -> None:
    """Remove duplicates and repeats, and find each punch's employee."""
    from streams.app import create_app, run

    common, metrics = begin("stream")
    kafka = KafkaSettings.load()
    run(create_app(kafka, StreamSettings.load(), Registry(common.punchstream_devices), metrics), kafka)


def sink() -> None:
    """Write check-ins to the target."""
    from sinks.delivery.runner import run
    from sinks.targets import create_target

    _, metrics = begin("sink")
    settings = SinkSettings.load()
    run_with_stop(lambda stop: run(KafkaSettings.load(), settings, create_target(settings), metrics, stop))


def completeness() -> None:
    """Tell ERPNext up to when each shift's devices are complete."""
    from sinks.completeness.runner import run

    common, metrics = begin("completeness")
    registry = Registry(common.punchstream_devices)
    run_with_stop(
        lambda stop: run(
            KafkaSettings.load(), ErpnextSettings.load(), CompletenessSettings.load(), registry, metrics, stop
        )
    )
