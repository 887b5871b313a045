"""Each address has its turn, however many requests another one has ready."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from producers.push.turns import AS_MUCH, LARGE, OF_ONE, ROUND, Turns

ATTACKER, TERMINAL, OTHER = "192.0.2.66", "192.0.2.7", "192.0.2.8"


class Clock:
    """Stands still while nobody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> Turns:
    return Turns(clock)


@asynccontextmanager
async def request(turns: Turns, address: str, size: int | None = 0) -> AsyncIterator[None]:
    """A request that is worked on."""
    try:
        await turns.enter(address, size)
        yield
    finally:
        turns.leave(address)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_where_few_are_worked_on_nobody_waits(turns: Turns) -> None:
    async def story() -> None:
        for _ in range(ROUND):
            with pytest.raises(StopIteration):
                turns.enter(TERMINAL, 0).send(None)

    run(story)


def test_an_address_with_a_thousand_requests_lets_the_others_go_between(turns: Turns) -> None:
    order: list[str] = []

    async def ask(address: str) -> None:
        async with request(turns, address):
            order.append(address)

    async def story() -> None:
        crowd = [asyncio.create_task(ask(ATTACKER)) for _ in range(1000)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(ask(address)) for address in (TERMINAL, OTHER) for _ in range(3)]
        await asyncio.gather(*crowd, *others)

    run(story)
    assert len(order) == 1006
    assert {TERMINAL, OTHER} <= set(order[: 2 * ROUND + 2 * OF_ONE])
    assert order[: 12 * ROUND].count(ATTACKER) == 12 * ROUND - 6


async def looks_of(turns: Turns, address: str, size: int | None, count: int, each_look: Callable[[], None]) -> int:
    """Between how many looks at the network so many requests of an address are worked on that are all there."""
    served = looks = 0

    async def ask() -> None:
        nonlocal served
        async with request(turns, address, size):
            served += 1

    crowd = [asyncio.create_task(ask()) for _ in range(count)]
    while served < count:
        each_look()
        await asyncio.sleep(0)
        looks += 1
    await asyncio.gather(*crowd)
    return looks


@pytest.mark.parametrize(
    ("size", "of_a_look"),
    [
        pytest.param(0, ROUND, id="no body"),
        pytest.param(AS_MUCH, ROUND // 2, id="a small body"),
        pytest.param(LARGE - 1, 2, id="one that has just no turn of its own"),
        pytest.param(None, 2, id="one of which nobody knows how long it is"),
        pytest.param(100 * LARGE, ROUND, id="one that has a turn of its own"),
    ],
)
def test_between_two_looks_less_is_worked_on_of_what_takes_longer(
    turns: Turns, size: int | None, of_a_look: int
) -> None:
    async def story() -> None:
        looks = await looks_of(turns, ATTACKER, size, 40 * of_a_look, lambda: None)
        assert 40 <= looks <= 44

    run(story)


def test_beside_others_no_address_has_a_whole_round(turns: Turns) -> None:
    async def story() -> None:
        async with request(turns, TERMINAL):
            looks = await looks_of(turns, ATTACKER, 0, 40 * OF_ONE, lambda: None)
        assert 40 <= looks <= 44

    run(story)


def test_many_addresses_share_a_whole_round(turns: Turns) -> None:
    async def story() -> None:
        crowds = [looks_of(turns, f"192.0.2.{each}", 0, 10 * OF_ONE, lambda: None) for each in range(8)]
        assert max(await asyncio.gather(*crowds)) <= 8 * 10 * OF_ONE // ROUND + 6

    run(story)


def test_while_somebody_connects_the_next_look_comes_sooner(turns: Turns) -> None:
    async def story() -> None:
        looks = await looks_of(turns, ATTACKER, 0, 40 * OF_ONE, turns.connected)
        assert 36 <= looks <= 44
        looks = await looks_of(turns, ATTACKER, 0, 40 * ROUND, lambda: None)
        assert looks <= 44

    run(story)


def test_of_one_address_the_first_that_came_is_the_first_that_goes(turns: Turns) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        async with request(turns, ATTACKER):
            order.append(number)

    async def story() -> None:
        await asyncio.gather(*map(ask, range(500)))

    run(story)
    assert order == list(range(500))


def test_a_network_of_ipv6_is_one_address(turns: Turns) -> None:
    order: list[str] = []

    async def ask(address: str) -> None:
        async with request(turns, address):
            order.append(address)

    async def story() -> None:
        crowd = [asyncio.create_task(ask(f"2001:db8:0:1::{each:x}")) for each in range(500)]
        await asyncio.sleep(0)
        await asyncio.gather(*crowd, asyncio.create_task(ask("2001:db8:0:2::1")))

    run(story)
    assert order.index("2001:db8:0:2::1") < 3 * ROUND


def test_whoever_had_a_body_read_for_long_lets_others_go_on_for_as_long(turns: Turns, clock: Clock) -> None:
    reads: list[tuple[str, float]] = []
    gone = asyncio.Event()

    async def upload(address: str) -> None:
        async with request(turns, address):
            await turns.to_read(address, LARGE)
            reads.append((address, clock.now))
            clock.now += 1.0  # it takes so long, and nothing else goes on meanwhile

    async def wait(address: str) -> None:
        async with request(turns, address):
            await gone.wait()

    async def story() -> None:
        waiting = asyncio.create_task(wait(TERMINAL))
        uploads = [asyncio.create_task(upload(ATTACKER)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert reads == [(ATTACKER, 0.0)]
        # Others are not held up by that, be it for a body of theirs.
        await upload(OTHER)
        assert reads[1:] == [(OTHER, 1.0)]
        clock.now += 0.1
        await asyncio.sleep(0.1)
        assert len(reads) == 3
        gone.set()
        await asyncio.gather(waiting, *uploads)

    run(story)
    # Once nobody else is there, it does not pause.
    assert [at for address, at in reads if address == ATTACKER] == [0.0, 2.1, 3.1]


def test_where_one_address_is_alone_it_never_pauses(turns: Turns, clock: Clock) -> None:
    async def upload() -> None:
        async with request(turns, ATTACKER):
            await turns.to_read(ATTACKER, LARGE)
            clock.now += 1.0

    async def story() -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*(upload() for _ in range(100)))

    run(story)
    assert clock.now == 100.0


def test_a_small_body_is_read_in_the_turn_of_its_request(turns: Turns) -> None:
    with pytest.raises(StopIteration):
        turns.to_read(TERMINAL, LARGE - 1).send(None)


def test_whoever_goes_away_takes_nobodys_turn(turns: Turns) -> None:
    order: list[str] = []

    async def ask(address: str) -> None:
        async with request(turns, address):
            order.append(address)

    async def story() -> None:
        crowd = [asyncio.create_task(ask(ATTACKER)) for _ in range(200)]
        await asyncio.sleep(0)
        for each in crowd[100:]:
            each.cancel()
        await asyncio.gather(*crowd[:100], ask(TERMINAL))
        await asyncio.gather(*crowd, return_exceptions=True)
        async with request(turns, TERMINAL):
            order.append("again")

    run(story)
    assert order.count(ATTACKER) <= 100 + ROUND
    assert order[-1] == "again"


def test_those_who_went_away_delay_nobody_behind_them(turns: Turns) -> None:
    async def ask() -> None:
        async with request(turns, ATTACKER):
            pass

    async def story() -> None:
        crowd = [asyncio.create_task(ask()) for _ in range(1000)]
        await asyncio.sleep(0)
        for each in crowd[:-1]:
            each.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert crowd[-1].done()

    run(story)
