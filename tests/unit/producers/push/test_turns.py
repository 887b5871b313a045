"""Each address has its turn, however many requests another one has ready."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from producers.push.turns import LARGE, ROUND, Turns

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


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_where_few_are_worked_on_nobody_waits(turns: Turns) -> None:
    async def story() -> None:
        for _ in range(ROUND):
            request = turns.request(TERMINAL)
            with pytest.raises(StopIteration):
                request.__aenter__().send(None)

    run(story)


def test_an_address_with_a_thousand_requests_lets_the_others_go_between(turns: Turns) -> None:
    order: list[str] = []

    async def ask(address: str) -> None:
        async with turns.request(address):
            order.append(address)

    async def story() -> None:
        crowd = [asyncio.create_task(ask(ATTACKER)) for _ in range(1000)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(ask(address)) for address in (TERMINAL, OTHER) for _ in range(3)]
        await asyncio.gather(*crowd, *others)

    run(story)
    assert len(order) == 1006
    assert {TERMINAL, OTHER} <= set(order[: 4 * ROUND])
    assert order[: 12 * ROUND].count(ATTACKER) == 12 * ROUND - 6


def test_of_one_address_the_first_that_came_is_the_first_that_goes(turns: Turns) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        async with turns.request(ATTACKER):
            order.append(number)

    async def story() -> None:
        await asyncio.gather(*map(ask, range(500)))

    run(story)
    assert order == list(range(500))


def test_a_network_of_ipv6_is_one_address(turns: Turns) -> None:
    order: list[str] = []

    async def ask(address: str) -> None:
        async with turns.request(address):
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
        async with turns.request(address):
            await turns.to_read(address, LARGE)
            reads.append((address, clock.now))
            clock.now += 1.0  # it takes so long, and nothing else goes on meanwhile

    async def wait(address: str) -> None:
        async with turns.request(address):
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
        async with turns.request(ATTACKER):
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
        async with turns.request(address):
            order.append(address)

    async def story() -> None:
        crowd = [asyncio.create_task(ask(ATTACKER)) for _ in range(200)]
        await asyncio.sleep(0)
        for each in crowd[100:]:
            each.cancel()
        await asyncio.gather(*crowd[:100], ask(TERMINAL))
        await asyncio.gather(*crowd, return_exceptions=True)
        async with turns.request(TERMINAL):
            order.append("again")

    run(story)
    assert order.count(ATTACKER) <= 100 + ROUND
    assert order[-1] == "again"


def test_between_two_looks_at_the_network_an_address_that_is_alone_has_a_whole_round(turns: Turns) -> None:
    served = 0

    async def ask() -> None:
        nonlocal served
        async with turns.request(ATTACKER):
            served += 1

    async def story() -> None:
        crowd = [asyncio.create_task(ask()) for _ in range(100 * ROUND)]
        looks = 0
        while served < len(crowd):
            await asyncio.sleep(0)
            looks += 1
        assert looks < 110

    run(story)


def test_those_who_went_away_delay_nobody_behind_them(turns: Turns) -> None:
    async def ask() -> None:
        async with turns.request(ATTACKER):
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
