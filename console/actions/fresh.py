"""A ledger that has what the topics have, for whoever decides by what it says."""

from typing import Final

from console.acting import Refused
from console.context import Context
from console.language import marked as _
from ledger.behind import until_reached
from ledger.trace import LedgerTrace

SECONDS: Final = 5.0
"""So long the ledger may take to have what the topics had when somebody asked."""


async def lacking(context: Context) -> int:
    """How many records the topics have that the ledger has not, once it had a while to read them.

    Args:
        context: Of the console.

    Raises:
        KafkaUnavailable: Kafka does not answer.
        LedgerUnavailable: the database does not answer.
    """
    return (await until_reached(context.database, context.log, SECONDS)).behind


async def fresh_trace(context: Context) -> LedgerTrace:
    """The ledger, for a decision.

    Args:
        context: Of the console.

    Raises:
        Refused: it is behind.
        KafkaUnavailable: Kafka does not answer.
        LedgerUnavailable: the database does not answer.
    """
    if await lacking(context):
        raise Refused(_("The ledger is behind, so nobody knows what was done a moment ago. Try again in a minute."))
    return LedgerTrace(context.database)
