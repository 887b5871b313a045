"""`topics accept-loss`: have stages go on without records that are gone."""

import asyncio
from typing import Annotated

import typer

from attendance.settings import KafkaSettings
from punchstream.commands.arguments import who
from punchstream.output import say


def accept_loss(
    of: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION", help="Such as `attendance.raw.v1:3`.")],
    through: Annotated[int, typer.Option(min=0, help="The offset at which stages and the audit go on.")],
    note: Annotated[str, typer.Option(help="Why that is right. It is recorded.")],
) -> None:
    """Have stages go on without records that are gone.

    A stage that lacks records stands still, and its log says which command has it go on. It does so within a minute,
    without a restart. Where only the audit lacks records, it says which command accepts that. The loss is recorded, and
    every later audit shows it.
    """
    from operations.losses import accept_loss as record

    for loss in asyncio.run(record(KafkaSettings.load(), of, through, note, who())):
        if loss.anew:
            say(
                f"{of}: made anew; it counts from offset {loss.through} on. Known to be lost: {loss.records:,} records."
            )
        else:
            records = "record" if loss.records == 1 else "records"
            say(
                f"{of}: {loss.records:,} {records} lost, offsets {loss.first} to {loss.through - 1}; stages and the "
                f"audit go on at {loss.through}."
            )
