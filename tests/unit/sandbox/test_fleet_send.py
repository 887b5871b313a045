"""The sender against a push stage that fails on demand."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

import httpx
import orjson

from sandbox.fleet.model import FleetPlan, Transmission
from sandbox.fleet.plan import Shape, plan
from sandbox.fleet.send import Tally, send

FLEET = plan(5, datetime(2026, 3, 31, 6, 30, tzinfo=UTC), Shape(terminals=4, people=20, punches=200, malformed=5))

Trouble = Callable[[int], httpx.Response | Exception | None]


def fine(_attempt: int) -> None:
    """No trouble with any attempt."""


@dataclass
class PushStage(httpx.AsyncBaseTransport):
    """Keeps what it is given, by the contract of `POST /v1/events`; `trouble` may answer an attempt instead.

    With `stores_in_trouble` it has stored what it gives no good answer to, as after a lost acknowledgement.
    """

    trouble: Trouble = fine
    stores_in_trouble: bool = False
    requests: int = 0
    stored: Counter[str] = field(default_factory=Counter)
    order: dict[str, list[bytes]] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    open: Counter[str] = field(default_factory=Counter)
    most_open: int = 0

    def __post_init__(self) -> None:
        self.ids = {
            one.body: one for one in chain.from_iterable(FLEET.transmissions.values()) if one.event_ids is not None
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/v1/events")
        body = await request.aread()
        token = request.headers["X-Device-Token"]
        self.open[token] += 1
        self.most_open = max(self.most_open, self.open[token])
        try:
            await asyncio.sleep(0)
            return self.answer(token, body)
        finally:
            self.open[token] -= 1

    def answer(self, token: str, body: bytes) -> httpx.Response:
        self.requests += 1
        trouble = self.trouble(self.requests)
        if trouble is None or self.stores_in_trouble:
            good = self.store(token, body)
        if isinstance(trouble, Exception):
            raise trouble
        return trouble or good

    def store(self, token: str, body: bytes) -> httpx.Response:
        self.order.setdefault(token, []).append(body)
        try:
            device_id = orjson.loads(body)["device_id"]
        except orjson.JSONDecodeError:
            return httpx.Response(400, json={"ok": False, "error": "unreadable_body"})
        self.tokens.setdefault(device_id, set()).add(token)
        one = self.ids[body]
        self.stored.update(one.accepted)
        rejected = [{"index": index, "reason": "invalid_event"} for index in one.rejected]
        return httpx.Response(200, json={"ok": True, "inserted": len(one.accepted), "rejected": rejected})


def every(n: int, trouble: httpx.Response | Exception) -> Trouble:
    return lambda attempt: trouble if attempt % n == 0 else None


def run(stage: PushStage, fleet: FleetPlan = FLEET, seen: list[int] | None = None, **options: float) -> Tally:
    def on_progress(tally: Tally) -> None:
        if seen is not None:
            seen.append(tally.transmissions)

    return asyncio.run(send(fleet, "http://push", transport=stage, on_progress=on_progress, pause=0, **options))


def everything(fleet: FleetPlan) -> list[Transmission]:
    return list(chain.from_iterable(fleet.transmissions.values()))


def test_a_push_stage_without_trouble_gets_everything_once_and_says_what_the_plan_says() -> None:
    stage = PushStage()
    tally = run(stage)
    assert stage.stored == tally.acknowledged == Counter(FLEET.expectation.copies)
    assert tally.contradictions == []
    assert (tally.rejected_events, tally.refused_bodies) == (
        FLEET.expectation.rejected,
        FLEET.expectation.unreadable_bodies,
    )
    assert (tally.transmissions, tally.attempts, tally.retries) == (len(everything(FLEET)), stage.requests, 0)
    assert tally.acknowledged_events == tally.attempted_events


def test_a_terminal_sends_in_order_with_its_own_token_and_one_request_at_a_time() -> None:
    stage = PushStage()
    run(stage)
    for terminal in FLEET.terminals:
        assert stage.order[terminal.token] == [one.body for one in FLEET.transmissions[terminal.device_id]]
        assert stage.tokens[terminal.device_id] == {terminal.token}
    assert stage.most_open == 1


def test_a_transmission_that_must_wait_is_sent_again_until_it_is_acknowledged() -> None:
    stage = PushStage(trouble=every(3, httpx.Response(503, headers={"Retry-After": "5"})))
    tally = run(stage)
    assert stage.stored == tally.acknowledged == Counter(FLEET.expectation.copies)
    assert tally.contradictions == []
    assert tally.retries == stage.requests // 3


def test_a_connection_that_breaks_before_the_answer_leaves_copies_within_the_stated_bounds() -> None:
    stage = PushStage(trouble=every(2, httpx.ReadTimeout("")), stores_in_trouble=True)
    tally = run(stage)
    assert set(stage.stored) == set(tally.acknowledged)
    assert tally.acknowledged == Counter(FLEET.expectation.copies)
    assert tally.acknowledged_events < stage.stored.total() <= tally.attempted_events
    assert tally.contradictions == []


def test_a_device_that_is_turned_away_gives_up_and_the_tally_says_so() -> None:
    stage = PushStage(trouble=every(1, httpx.Response(401, json={"error": "unknown_device"})))
    tally = run(stage)
    assert tally.acknowledged_events == 0
    assert len(tally.contradictions) == tally.transmissions == tally.attempts


def test_an_answer_that_counts_otherwise_than_the_plan_is_a_contradiction() -> None:
    wrong = httpx.Response(200, json={"ok": True, "inserted": 0, "rejected": [{"index": 0, "reason": "invalid_event"}]})
    tally = run(PushStage(trouble=every(1, wrong)))
    taken = [id_ for one in everything(FLEET) for id_ in (one.event_ids or ())[1:] if id_ is not None]
    assert tally.acknowledged == Counter(taken)
    assert len(tally.contradictions) >= len(FLEET.terminals)


def test_an_answer_that_is_no_json_is_a_contradiction() -> None:
    tally = run(PushStage(trouble=lambda attempt: httpx.Response(200, text="ok") if attempt == 1 else None))
    assert len(tally.contradictions) == 1


def test_progress_is_told_after_each_final_answer() -> None:
    seen: list[int] = []
    run(PushStage(trouble=every(4, httpx.Response(503))), seen=seen)
    assert seen == list(range(1, len(everything(FLEET)) + 1))
