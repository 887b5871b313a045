"""Structured logs, with secrets masked. Log sentences are sentences; what varies is a key beside them."""

import asyncio
import logging
import re
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from math import inf
from typing import Final, Literal, NoReturn

import structlog
from structlog.typing import EventDict, WrappedLogger

from attendance.shown import MASK, shown, shown_in_a_line, without_credentials

_SECRET = re.compile(r"(token|secret|password|api_key|authorization|credential)", re.IGNORECASE)


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of every key that names a secret, at any depth."""
    return {name: _masked(name, value) for name, value in event.items()}


def _masked(name: str, value: object) -> object:
    if isinstance(value, dict):
        return {inner: _masked(str(inner), deeper) for inner, deeper in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(name, each) for each in value]
    return MASK if _SECRET.search(name) and value else value


def mask_addresses(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take what logs in out of the addresses in every text, at any depth."""
    return {name: _without_credentials(value) for name, value in event.items()}


def _without_credentials(value: object) -> object:
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {_without_credentials(name): _without_credentials(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_credentials(each) for each in value]
    # Numbers have no text of others; what else there is, errors and enumerations, is written by `str`.
    return value if value is None or isinstance(value, bool | int | float | bytes) else without_credentials(str(value))


def show_sentences(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Write the sentence in one line, and both it and a traceback as they may be shown: text is written as it is."""
    safe = {"event": shown_in_a_line(str(event["event"]))}
    if "exception" in event:
        safe["exception"] = shown(str(event["exception"]))
    return {**event, **safe}


class QuietRepeats(logging.Filter):
    """Lets a library say the same thing once in ten seconds. In an outage aiokafka does so ten times a second."""

    SECONDS: Final = 10.0

    def __init__(self, library: str) -> None:
        super().__init__()
        self._library = library
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if not record.name.startswith(self._library):
            return True
        key = (record.name, str(record.msg))
        if record.created - self._said.get(key, -inf) < self.SECONDS:
            return False
        self._said[key] = record.created
        return True


class QuietClosures(logging.Filter):
    """Lets aiokafka say that a broker closed connections only where that does not end.

    A broker closes one now and then: when it has been idle, or when `connections.max.reauth.ms` is over, since aiokafka
    cannot log in again. The client connects anew, and says so if it cannot. One that closes each time is in trouble.
    """

    SECONDS: Final = 10.0
    MANY: Final = 20
    # The second is said beside a line that has the cause.
    _CLOSED = re.compile(r"Connection at \S+ closed|^Unable to update metadata from")

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=self.MANY))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if not record.name.startswith("aiokafka") or not self._CLOSED.search(record.getMessage()):
            return True
        last = self._last[record.name, str(record.msg)]
        last.append(record.created)
        return len(last) == self.MANY and record.created - last[0] < self.SECONDS


class Seldom:
    """Logs a sentence once a minute for each cause, with how often it was left out: whoever sends cannot fill the log.

    Args:
        seconds: How long a cause is silent after it was logged.
        most: Causes that are told apart. What is beyond them shares one.
        clock: Seconds, from any beginning.
    """

    def __init__(self, seconds: float = 60.0, most: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        # The one that was said longest ago is first.
        self._said: dict[Hashable, float] = {}
        self._left_out: dict[Hashable, tuple[int, Callable[[int], object]]] = {}

    def say(self, cause: Hashable, write: Callable[..., object], sentence: str, /, **keys: object) -> None:
        """Log a sentence, or count it for the next time.

        Args:
            cause: What it is limited by.
            write: How, such as `log.warning`.
            sentence: What to log.
            keys: What varies. A line of what was left out has the last of them, and in `left_out` how many they are.
        """
        if self._said:
            self.flush()
        if cause not in self._said and len(self._said) >= self._most:
            cause = Seldom
        if cause in self._said:
            count = self._left_out[cause][0] if cause in self._left_out else 0
            # An error has all that was at hand where it was raised, and none of that is kept for a minute.
            keys.pop("exc_info", None)
            self._left_out[cause] = (count + 1, lambda left_out: write(sentence, **keys, left_out=left_out))
            return
        self._said[cause] = self._clock()
        write(sentence, **keys)

    def flush(self) -> None:
        """Log what was left out of each cause that was silent for long enough."""
        moment = self._clock()
        while self._said:
            cause, said_at = next(iter(self._said.items()))
            if moment - said_at < self._seconds:
                return
            del self._said[cause]
            if cause in self._left_out:
                count, write = self._left_out.pop(cause)
                self._said[cause] = moment
                write(count)

    async def keep(self) -> NoReturn:
        """Log what was left out as soon as it may be."""
        while True:
            await asyncio.sleep(self._seconds / 10)
            self.flush()


def configure(level: str = "INFO", style: Literal["json", "text"] = "json", **bound: str) -> None:
    """Send every log, the libraries' too, to standard error in one form. `bound` stands in each line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
        mask_addresses,
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if style == "json"
        # Values are quoted as Python quotes them, and so are what a terminal would obey in them.
        else [show_sentences, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), repr_native_str=True)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    handler.addFilter(QuietClosures())
    handler.addFilter(QuietRepeats("aiokafka"))
    # Both report every request or every fetch at INFO, which drowns what an operator looks for.
    for noisy in ("uvicorn.access", "httpx", "aiokafka", "kafka"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
