"""The commands that run everything together on one machine: `demo` and `up`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from attendance.errors import ConfigurationError
from punchstream.output import terminal


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
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep everything up after the audit, until Ctrl-C, to look around.")
    ] = False,
) -> None:
    """Run a simulated fleet through the whole pipeline, then the audit. Exit status 0 only when it balances.

    The console shows it in a browser meanwhile, by a ledger of its own. An account is made, and its password is shown
    once.
    """
    with _needs_the_sandbox():
        from punchstream.demo import run

    raise typer.Exit(
        run(broker, seed=seed, seconds=seconds, vendors=vendors == "all", keep=keep, stay=stay, console=terminal())
    )


def up(
    *, directory: Annotated[Path, typer.Option(help="For logs and the sandbox's data.")] = Path(".punchstream")
) -> None:
    """Run every stage on this machine, until Ctrl-C. Missing parts come from the sandbox.

    Pull runs if the fleet has devices to ask at the start, completeness if it lists shifts. The console shows the
    ledger of LEDGER_URL, or one beside the logs. Where it has no account, one is made, and its password is shown once.
    """
    with _needs_the_sandbox():
        from punchstream.up import run

    run(directory, terminal())


@contextmanager
def _needs_the_sandbox() -> Iterator[None]:
    """What is imported here needs what the extra `embedded` installs."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed; it comes with the extra punchstream[embedded]"
        ) from error
