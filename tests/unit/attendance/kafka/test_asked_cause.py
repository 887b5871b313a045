"""Why Kafka does not acknowledge: asked for beside the work, seldom, and never in its way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from structlog.testing import capture_logs

from attendance.errors import ConfigurationError
from attendance.kafka.asked_cause import ASK_SECONDS, FRESH_SECONDS, AskedCause
from virtual_time import run_in_virtual_time

LATE = "no acknowledgement within 10 s"
REFUSED = "kafka:9093: the broker refuses the client certificate"
NOBODY = "kafka:9093: nobody listens on this port"
SAID = "Kafka does not acknowledge; this is why."


class Servers:
    """What is found when they are tried, which takes some seconds."""

    def __init__(self, found: str | Exception | None = REFUSED) -> None:
        self.found = found
        self.seconds = 5.0
        self.tried_at: list[float] = []
        self.being_tried = 0

    async def ask(self) -> str | None:
        self.tried_at.append(asyncio.get_running_loop().time())
        self.being_tried += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.being_tried -= 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def logged(story: Callable[[], Coroutine[Any, Any, None]]) -> list[tuple[str, str]]:
    """What the log says, with the cause or the error."""
    with capture_logs() as lines:
        run_in_virtual_time(asyncio.wait_for(story(), 3600))
    return [(line["event"], line.get("cause") or line["error"]) for line in lines]


def test_the_cause_is_said_once_and_added_to_what_is_late_from_then_on() -> None:
    servers = Servers()

    async def story() -> None:
        cause = AskedCause(servers.ask, "c")
        assert [cause.too_late(LATE) for _ in range(100)] == [LATE] * 100
        await asyncio.sleep(servers.seconds + 1)
        assert [cause.too_late(LATE) for _ in range(100)] == [f"{LATE}; {REFUSED}"] * 100
        await cause.stop()

    assert logged(story) == [(SAID, REFUSED)]
    assert len(servers.tried_at) == 1


def test_while_it_lasts_the_servers_are_tried_once_a_minute_and_the_cause_is_never_forgotten_in_between() -> None:
    servers, minutes = Servers(), 10

    async def story() -> None:
        cause = AskedCause(servers.ask, "c")
        cause.too_late(LATE)
        await asyncio.sleep(servers.seconds + 1)
        for _ in range(minutes * 60):
            assert cause.too_late(LATE) == f"{LATE}; {REFUSED}"
            await asyncio.sleep(1)
        await cause.stop()

    assert logged(story) == [(SAID, REFUSED)] * len(servers.tried_at)
    pauses = [later - earlier for earlier, later in zip(servers.tried_at, servers.tried_at[1:], strict=False)]
    assert min(pauses) >= ASK_SECONDS
    assert len(servers.tried_at) > minutes / 2


def test_servers_that_take_long_are_not_tried_twice_at_a_time() -> None:
    servers = Servers()
    servers.seconds = 10 * ASK_SECONDS

    async def story() -> None:
        cause = AskedCause(servers.ask, "c")
        for _ in range(9):
            cause.too_late(LATE)
            await asyncio.sleep(ASK_SECONDS)
        assert servers.being_tried == 1
        await cause.stop()

    assert logged(story) == []
    assert servers.being_tried == 0
    assert len(servers.tried_at) == 1


def test_another_cause_takes_the_place_of_the_first_and_none_takes_it_away() -> None:
    servers = Servers(NOBODY)

    async def story() -> None:
        cause = AskedCause(servers.ask, "c")
        for found, said in ((NOBODY, f"{LATE}; {NOBODY}"), (REFUSED, f"{LATE}; {REFUSED}"), (None, LATE)):
            servers.found = found
            cause.too_late(LATE)
            await asyncio.sleep(ASK_SECONDS)
            assert cause.too_late(LATE) == said
            await asyncio.sleep(ASK_SECONDS)
        await cause.stop()

    assert list(dict.fromkeys(logged(story))) == [(SAID, NOBODY), (SAID, REFUSED)]


def test_a_cause_of_long_ago_is_not_that_of_today() -> None:
    async def story() -> None:
        cause = AskedCause(Servers().ask, "c")
        cause.too_late(LATE)
        await asyncio.sleep(FRESH_SECONDS + 10)
        assert cause.too_late(LATE) == LATE
        await cause.stop()

    assert logged(story) == [(SAID, REFUSED)]


def test_a_certificate_that_cannot_be_read_is_a_cause_and_any_other_error_harms_nobody() -> None:
    servers = Servers(ConfigurationError("KAFKA_SSL_CERTFILE: no certificate"))

    async def story() -> None:
        cause = AskedCause(servers.ask, "c")
        cause.too_late(LATE)
        await asyncio.sleep(ASK_SECONDS * 2)
        servers.found = RuntimeError("a defect")
        assert cause.too_late(LATE) == f"{LATE}; KAFKA_SSL_CERTFILE: no certificate"
        await asyncio.sleep(ASK_SECONDS * 2)
        assert cause.too_late(LATE) == LATE
        await asyncio.sleep(1)
        assert servers.being_tried == 1, "it goes on asking"
        await cause.stop()

    assert logged(story) == [
        (SAID, "KAFKA_SSL_CERTFILE: no certificate"),
        ("Why Kafka does not acknowledge is not known.", "RuntimeError('a defect')"),
    ]


def test_who_stops_before_anything_was_tried_leaves_nothing_behind_and_may_begin_anew() -> None:
    servers = Servers()

    async def story() -> None:
        before, cause = asyncio.all_tasks(), AskedCause(servers.ask, "c")
        cause.too_late(LATE)
        await cause.stop()
        assert asyncio.all_tasks() == before
        assert servers.tried_at == []
        cause.too_late(LATE)
        await asyncio.sleep(servers.seconds + 1)
        await cause.stop()

    assert logged(story) == [(SAID, REFUSED)]
