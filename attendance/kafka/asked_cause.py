"""AskedCause: why Kafka does not acknowledge, found while nobody waits for it. Loads no Kafka library."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

import structlog

from attendance.errors import PunchstreamError

log = structlog.get_logger(__name__)

# Each time costs every server a connection.
ASK_SECONDS: Final = 60.0

# A lasting cause is found again before it is too old, however long the servers are tried.
FRESH_SECONDS: Final = 2 * ASK_SECONDS


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class AskedCause:
    """Asks for the cause once something took too long, and remembers it for what takes too long next.

    While aiokafka connects again, it does not say that it is refused: whoever was connected before only hears nothing.
    The cause is asked for beside that, once at a time, and again a minute after the last answer.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[str | None]], client_id: str, clock: Callable[[], float] = _loop_time
    ) -> None:
        """Nothing is asked yet.

        Args:
            ask: Returns the cause, None if there is none.
            client_id: Whom the log names.
            clock: Seconds that no setting of the clock changes; by default those of the running loop.
        """
        self._ask = ask
        self._client_id = client_id
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._cause: str | None = None
        self._answered_at = -inf

    def too_late(self, why: str) -> str:
        """Ask for the cause, if that is due. Waits for nothing.

        Args:
            why: What took too long, for people.

        Returns:
            That, with the cause if it was found lately.
        """
        age = self._clock() - self._answered_at
        if self._asking is None and age >= ASK_SECONDS:
            self._asking = asyncio.get_running_loop().create_task(self._find())
        return why if self._cause is None or age >= FRESH_SECONDS else f"{why}; {self._cause}"

    async def stop(self) -> None:
        """Ask no longer."""
        asking, self._asking = self._asking, None  # one that has not begun leaves it as it is
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])

    async def _find(self) -> None:
        try:
            self._cause = await self._ask()
        except PunchstreamError as error:  # such as a certificate that cannot be read
            self._cause = str(error)
        except Exception as error:  # noqa: BLE001 - whoever sends must not fail of this
            self._cause = None
            log.warning("Why Kafka does not acknowledge is not known.", client_id=self._client_id, error=repr(error))
        finally:
            self._answered_at = self._clock()
            self._asking = None
        if self._cause is not None:
            log.warning("Kafka does not acknowledge; this is why.", client_id=self._client_id, cause=self._cause)
