"""The command line: which commands there are. Each loads its stage when it runs, so a process has only its own."""

import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from inspect import cleandoc
from typing import Annotated

import typer

from attendance import logs
from attendance.errors import PunchstreamError
from punchstream.commands import (
    adoption,
    audit,
    console,
    dead_letters,
    devices,
    erpnext,
    fleet,
    fleet_edit,
    imports,
    jobs,
    losses,
    privacy,
    reconcile,
    replay,
    right_time,
    settings,
    stages,
    together,
    topics,
    trace,
    users,
)
from punchstream.output import say, terminal

app = typer.Typer(
    name="punchstream",
    help="Attendance punches from biometric terminals to ERPNext through Kafka, each stored once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _help(command: Callable[..., object]) -> str:
    """The docstring with each paragraph in one line: typer keeps the line breaks, and terminals have other widths."""
    return "\n\n".join(" ".join(each.split()) for each in cleandoc(command.__doc__ or "").split("\n\n"))


for command in (
    together.demo,
    together.up,
    audit.audit,
    trace.trace,
    reconcile.reconcile,
    replay.replay,
    right_time.set_time,
    stages.push,
    stages.pull,
):
    app.command(help=_help(command))(command)
app.command("import", help=_help(imports.import_files))(imports.import_files)
for command in (stages.directory, stages.stream, stages.sink, stages.completeness, stages.ledger, settings.settings):
    app.command(help=_help(command))(command)
topics.app.command("accept-loss", help=_help(losses.accept_loss))(losses.accept_loss)
topics.app.command("adopt", help=_help(adoption.adopt))(adoption.adopt)
app.add_typer(topics.app, name="topics")
for name, edit in fleet_edit.COMMANDS.items():
    fleet.app.command(name, help=_help(edit))(edit)
app.add_typer(fleet.app, name="fleet")
app.add_typer(devices.app, name="devices")
app.add_typer(users.app, name="users")
app.add_typer(console.app, name="console")
app.add_typer(erpnext.app, name="erpnext")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(jobs.app, name="jobs")
app.add_typer(privacy.app, name="privacy")


def main() -> None:
    """Run the command. What we foresaw is one line on standard error and exit status 2."""
    try:
        app()
    except PunchstreamError as error:
        terminal(stderr=True, soft_wrap=True).print(f"punchstream: {error}", style="red")
        sys.exit(2)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        say(f"punchstream {version('punchstream')}")
        raise typer.Exit


@app.callback()
def prepare(
    *,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version, and end.")
    ] = False,
) -> None:
    """Logs for people, until a stage configures its own."""
    logs.configure("WARNING", "text")
    # What the library would log of a failed connection, the command says in its own one line.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
