"""`topics adopt`: go on with topics whose records have other offsets now."""

import asyncio
from typing import Annotated

import typer

from punchstream.commands.arguments import kafka_log, who
from punchstream.output import say


def adopt(
    *,
    note: Annotated[str | None, typer.Option(help="What was restored, and from where. It is recorded.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    missing: Annotated[
        int, typer.Option(min=0, help="Accept that so many records are lost: exactly those that are not there.")
    ] = 0,
    decide_again: Annotated[
        bool, typer.Option("--decide-again", help="Have the stream go back to what is there without its outcome.")
    ] = False,
) -> None:
    """Go on with topics that were restored, or copied to another cluster, and whose records have other offsets now.

    Stop every stage first. The records are known again by what the topics say of each other. Where it is not certain
    which record is which, or records are not there, nothing is done. The adoption is recorded, and every later audit
    names it.
    """
    from operations.adoption import adopt as go_on

    log = kafka_log("adopt")
    plan = asyncio.run(
        go_on(log, note=note or "", by=who(), dry_run=dry_run, missing=missing, decide_again=decide_again)
    )
    for line in plan.lines(log.topics):
        say(line)
    if dry_run:
        say("Nothing was done (dry run).")
        if plan.records_missing or plan.undecided:
            raise typer.Exit(1)
    else:
        say("Adopted. Start the stages, and run `punchstream audit`.")
