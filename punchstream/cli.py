"""The command line. A subcommand imports its stage when it runs, so that each process loads only its own."""

import asyncio
import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console

from attendance import logs
from attendance.errors import ConfigurationError, PunchstreamError
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.runtime import on_stop_signal, run_until_signalled
from attendance.settings import GROUPS, CommonSettings, KafkaSettings
from operations import dead_letters
from punchstream.commands import devices, erpnext, users
from punchstream.output import AsJson, show

YOUNG_OBJECTS: Final = 50_000  # between two looks for garbage

app = typer.Typer(
    name="punchstream",
    help="Attendance punches from biometric terminals to ERPNext through Kafka, each exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(devices.app, name="devices")
app.add_typer(users.app, name="users")
app.add_typer(erpnext.app, name="erpnext")
app.add_typer(dead_letters.app, name="dead-letters")


def main() -> None:
    """Run the command. What we foresaw is one line on standard error and exit status 2."""
    try:
        app()
    except PunchstreamError as error:
        Console(stderr=True).print(f"punchstream: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


@app.callback()
def prepare() -> None:
    """Logs for people, until a stage configures its own."""
    logs.configure("WARNING", "text")
    # What the library would log of a failed connection, the command says in its own one line.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def _stage(name: str) -> tuple[CommonSettings, Metrics]:
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


@contextmanager
def _needs_the_sandbox() -> Iterator[None]:
    """What is imported here needs what the extra `embedded` installs."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed; it comes with the extra punchstream[embedded]"
        ) from error


@app.command()
def demo(
    *,
    broker: Annotated[
        Literal["embedded", "kafka"], typer.Option(help="`kafka` needs Java and `make kafka`.")
    ] = "embedded",
    seed: Annotated[int, typer.Option(help="Another seed is another fleet and other punches.")] = 1,
    seconds: Annotated[float, typer.Option(help="Over how long the fleet sends.")] = 20,
    vendors: Annotated[
        Literal["none", "all"],
        typer.Option(help="`all` adds a terminal of every protocol: pushed, pulled and by file."),
    ] = "none",
    keep: Annotated[Path | None, typer.Option(help="A directory that keeps the logs.")] = None,
) -> None:
    """Run a simulated fleet through the whole pipeline, then the audit. Exit status 0 only when it balances."""
    with _needs_the_sandbox():
        from punchstream.demo import run

    raise typer.Exit(
        run(broker, seed=seed, seconds=seconds, vendors=vendors == "all", keep=keep, console=Console(highlight=False))
    )


@app.command()
def up(
    *, directory: Annotated[Path, typer.Option(help="For logs and the sandbox's data.")] = Path(".punchstream")
) -> None:
    """Run every stage on this machine, until Ctrl-C. Missing parts come from the sandbox."""
    with _needs_the_sandbox():
        from punchstream.up import run

    run(directory, Console(highlight=False))


@app.command()
def audit(
    *,
    since: Annotated[str | None, typer.Option(help="Only punches that arrived since then, as `2026-01-01`.")] = None,
    device: Annotated[str | None, typer.Option(help="Only this device's punches.")] = None,
    against_erpnext: Annotated[bool, typer.Option(help="Also look up in ERPNext what was delivered.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Send what is missing again.")] = False,
    late: Annotated[bool, typer.Option("--late", help="List what came after its day was closed, instead.")] = False,
    repair_late: Annotated[
        bool, typer.Option("--repair-late", help="Have ERPNext process again the days that are Absent for that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Account for every raw event. Exit status 1 when one has no outcome, also where --repair sent it again."""
    from attendance.settings import ErpnextSettings
    from operations import audit as auditing

    erpnext_settings = ErpnextSettings.load() if against_erpnext or repair_late else None
    if late or repair_late:
        from operations.late import run

        kafka, begin = KafkaSettings.load(), auditing.instant(since)
        raise typer.Exit(
            run(kafka, erpnext_settings, since=begin, device=device, repairing=repair_late, as_json=as_json)
        )
    report = asyncio.run(
        auditing.audit(
            KafkaSettings.load(),
            since=auditing.instant(since),
            device=device,
            erpnext=erpnext_settings,
            repair=repair,
            named=-1 if as_json else auditing.NAMED,
        )
    )
    if as_json:
        typer.echo(report.json())
    else:
        auditing.show(report, Console(highlight=False))
    if not report.balanced:
        raise typer.Exit(1)


@app.command()
def replay(
    *,
    since: Annotated[str, typer.Option(help="Punches that arrived since then, as `2026-01-01`.")],
    until: Annotated[str | None, typer.Option(help="Only punches that arrived before then.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only this device's punches. May be given again.")] = None,
    against_erpnext: Annotated[
        bool, typer.Option(help="First show what ERPNext holds that would now be different.")
    ] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="Replace what is different in ERPNext, and replay nothing else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing.")] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="At most so many records in a second.")] = 500.0,
    as_json: AsJson = False,
) -> None:
    """Send raw events through the stream again: harmless, and what ERPNext lost comes back.

    A wrong user map or zone is repaired first, and its past with --correct. What waits, was dropped or was
    dead-lettered has nothing in ERPNext and is not corrected. A document that an Attendance was made from is not
    replaced; cancel that first.
    """
    from attendance.settings import ErpnextSettings
    from operations.audit import instant
    from operations.replay import Range, run

    begin = instant(since)
    assert begin is not None
    run(
        KafkaSettings.load(),
        Range(begin, instant(until, "--until"), frozenset(device or ())),
        ErpnextSettings.load() if against_erpnext or correct else None,
        correcting=correct,
        dry_run=dry_run,
        per_second=rate,
        as_json=as_json,
    )


@app.command()
def push() -> None:
    """The HTTP way in: terminals post their punches."""
    from attendance.settings import PushSettings
    from producers.push.server import serve

    common, metrics = _stage("push")
    serve(KafkaSettings.load(), PushSettings.load(), Registry(common.punchstream_devices), metrics)


@app.command()
def pull() -> None:
    """The way in of devices that are asked: this process's share of them."""
    from attendance.settings import PullSettings, PushSettings
    from producers.pull.share import run

    common, metrics = _stage("pull")
    registry = Registry(common.punchstream_devices)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        on_stop_signal(stop.set)
        payload_fields = PushSettings.load().payload_fields
        await run(KafkaSettings.load(), PullSettings.load(), registry, payload_fields, metrics, stop)

    asyncio.run(until_stopped())


@app.command("import")
def import_files(
    files: Annotated[list[Path] | None, typer.Argument(help="CSV, XLSX or attlog.dat.", show_default=False)] = None,
    *,
    device: Annotated[str, typer.Option(help="Whose punches they hold: a device_id of the registry file.")],
    profile: Annotated[
        str | None, typer.Option(help="An adapter or a known table, where neither entry nor suffix says it.")
    ] = None,
    date_format: Annotated[
        str | None, typer.Option(help="`dmy`, `mdy` or a strptime format, where the file leaves it open.")
    ] = None,
    watch: Annotated[Path | None, typer.Option(help="Import what comes into this directory, until stopped.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be read. Send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take in punches from files, as often as you like. Exit status 1 when rows were rejected.

    Rejected rows are dead letters, and the rest of their file is taken in. Exit status 2 when a file cannot be read to
    its end; what stood before is taken in.
    """
    from attendance.settings import PushSettings
    from producers.files.importer import prepare
    from punchstream.commands import imports

    if (watch is None) == (not files) or (watch is not None and (dry_run or as_json)):
        raise ConfigurationError("import: needs either files or --watch, and shows nothing while it watches")
    if watch is not None:
        common, metrics = _stage("import")
        registry = Registry(common.punchstream_devices)
        run_until_signalled(imports.watch(watch, device, registry, profile, date_format, metrics))
        return
    fleet, fields = Registry(CommonSettings.load().punchstream_devices), PushSettings.load().payload_fields
    prepared = [prepare(file, device, fleet, fields, profile=profile, date_format=date_format) for file in files or ()]
    raise typer.Exit(imports.run(prepared, dry_run=dry_run, as_json=as_json))


@app.command()
def directory(
    *,
    force: Annotated[bool, typer.Option(help="Remove as many entries as ERPNext no longer has, once.")] = False,
) -> None:
    """Keep the user map in step with ERPNext's employees."""
    from attendance.settings import DirectorySettings, ErpnextSettings
    from producers.directory.sync import run

    _, metrics = _stage("directory")

    async def until_stopped() -> None:
        stop = asyncio.Event()
        on_stop_signal(stop.set)
        await run(KafkaSettings.load(), ErpnextSettings.load(), DirectorySettings.load(), metrics, stop, force=force)

    asyncio.run(until_stopped())


@app.command()
def stream() -> None:
    """Remove repeats and find each punch's employee."""
    from attendance.settings import StreamSettings
    from streams.app import create_app, run

    common, metrics = _stage("stream")
    kafka = KafkaSettings.load()
    run(create_app(kafka, StreamSettings.load(), Registry(common.punchstream_devices), metrics), kafka)


@app.command()
def sink() -> None:
    """Write check-ins to the target."""
    from attendance.settings import SinkSettings
    from sinks.delivery.runner import run
    from sinks.targets import create_target

    _, metrics = _stage("sink")
    settings = SinkSettings.load()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        on_stop_signal(stop.set)
        await run(KafkaSettings.load(), settings, create_target(settings), metrics, stop)

    asyncio.run(until_stopped())


@app.command()
def completeness() -> None:
    """Tell ERPNext up to when each shift's devices are complete."""
    from attendance.settings import CompletenessSettings, ErpnextSettings
    from sinks.completeness.runner import run

    common, metrics = _stage("completeness")
    registry = Registry(common.punchstream_devices)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        on_stop_signal(stop.set)
        await run(KafkaSettings.load(), ErpnextSettings.load(), CompletenessSettings.load(), registry, metrics, stop)

    asyncio.run(until_stopped())


@topics_app.command("create")
def topics_create() -> None:
    """Create the topics that are missing."""
    from attendance.kafka.admin import create_topics

    created = asyncio.run(create_topics(KafkaSettings.load()))
    for name, is_new in created.items():
        typer.echo(f"{name}: {'created' if is_new else 'was there'}")


@topics_app.command("describe")
def topics_describe(*, as_json: AsJson = False) -> None:
    """Show the topics with their partitions, retention and what they hold. Exit status 1 when one is missing."""
    from attendance.kafka.admin import describe_topics

    rows = asyncio.run(describe_topics(KafkaSettings.load()))
    show(rows, as_json=as_json)
    if any(row["partitions"] == 0 for row in rows):
        raise typer.Exit(1)


@app.command()
def settings(
    *,
    as_json: AsJson = False,
    style: Annotated[Literal["table", "markdown"], typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """Show every setting: its value (secrets masked), where it came from, what it means."""
    from punchstream.commands.settings import describe, markdown

    if style == "markdown":
        typer.echo(markdown(GROUPS), nl=False)
    else:
        show(describe(GROUPS, Path(".env")), as_json=as_json)
