"""The command line: which commands there are. Each is loaded when it runs, so a process has only its own."""

import errno
import logging
import sys
from importlib.metadata import version
from typing import Annotated, Final, NoReturn

import typer

from attendance import logs
from attendance.errors import PunchstreamError
from punchstream.on_demand import on_demand
from punchstream.output import say, terminal

COMMANDS: Final = {
    "demo": "together:demo",
    "up": "together:up",
    "audit": "audit:audit",
    "trace": "trace:trace",
    "reconcile": "reconcile:reconcile",
    "replay": "replay:replay",
    "set-time": "right_time:set_time",
    "push": "stages:push",
    "pull": "stages:pull",
    "import": "imports:import_files",
    "directory": "stages:directory",
    "stream": "stages:stream",
    "sink": "stages:sink",
    "completeness": "stages:completeness",
    "ledger": "stages:ledger",
    "settings": "settings:settings",
    "topics": "topics:app",
    "fleet": "fleet:app",
    "devices": "devices:app",
    "users": "users:app",
    "console": "console:app",
    "erpnext": "erpnext:app",
    "dead-letters": "dead_letters:app",
    "jobs": "jobs:app",
    "privacy": "privacy:app",
}
"""Where each is in `punchstream.commands`, in the order of `--help`."""

app = typer.Typer(
    name="punchstream",
    cls=on_demand(COMMANDS),
    help="Attendance punches from biometric terminals to ERPNext through Kafka, each stored once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


UNWRITABLE: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
"""What a machine says where a file cannot be written or opened, as in a container whose root is read-only."""


def main() -> None:
    """Run the command. What we foresaw is one line on standard error and exit status 2."""
    try:
        app()
    except PunchstreamError as error:
        _end(str(error))
    except OSError as error:
        if error.errno in UNWRITABLE and error.filename is not None:
            _end(f"{error.filename}: {error.strerror}")
        if isinstance(error, FileNotFoundError) and error.filename is None:
            _end(f"TMPDIR: {error.strerror}")  # of Python's own search for a temporary directory
        raise


def _end(why: str) -> NoReturn:
    terminal(stderr=True, soft_wrap=True).print(f"punchstream: {why}", style="red")
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
