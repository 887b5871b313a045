"""Guards: what stands is said, and nothing goes on until it is over."""

import asyncio
import subprocess
import sys
from collections.abc import Coroutine

import pytest
import structlog
from fake_guard import FakeGuard
from structlog.testing import LogCapture

from attendance import guards as module
from attendance.errors import KafkaUnavailable, StandingStill
from attendance.guards import ANSWER_SECONDS, ASK_SECONDS, SILENT_SECONDS, Guards
from attendance.health import STARTING
from attendance.metrics import Metrics
from virtual_time import run_in_virtual_time

STANDS = "This stage stands still."
GOES_ON = "This stage goes on."


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    capture = LogCapture()
    monkeypatch.setattr(module, "log", structlog.wrap_logger(None, [capture]))
    return capture


def sentences(said: LogCapture) -> list[str]:
    return [entry["event"] for entry in said.entries]


def shown(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    series = [line for line in lines if line.startswith("punchstream_standing_still{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in series}


def asked(guards: Guards) -> Guards:
    asyncio.run(guards.ask())
    return guards


def test_without_guards_nothing_ever_stands() -> None:
    guards = Guards(Metrics())
    guards.check()
    asyncio.run(guards.until_clear())
    assert not guards.standing


def test_a_reason_stands_until_its_guard_gives_none_and_is_shown_by_its_cause(said: LogCapture) -> None:
    clock, offsets, metrics = FakeGuard(answer="an hour behind"), FakeGuard("offsets"), Metrics()
    guards = asked(Guards(metrics, [clock, offsets]))
    with pytest.raises(StandingStill, match="an hour behind"):
        guards.check()
    assert guards.reasons == {"clock": "an hour behind"}
    assert shown(metrics) == {"topics": 0, "offsets": 0, "clock": 1, "fleet": 0}
    clock.answer = None
    asked(guards).check()
    assert shown(metrics) == {"topics": 0, "offsets": 0, "clock": 0, "fleet": 0}
    assert sentences(said) == [STANDS, GOES_ON]


def test_two_guards_of_one_cause_both_have_to_be_content() -> None:
    first, second, metrics = FakeGuard("topics", "raw is compacted."), FakeGuard("topics", "probe is gone."), Metrics()
    guards = asked(Guards(metrics, [first, second]))
    assert guards.reasons == {"topics": "raw is compacted. probe is gone."}
    first.answer = None
    assert asked(guards).standing
    assert shown(metrics)["topics"] == 1


def test_a_stage_waits_until_a_guard_has_answered_for_the_first_time(said: LogCapture) -> None:
    guard = FakeGuard(answer=KafkaUnavailable("no brokers"))
    guards = Guards(Metrics(), [guard])
    with pytest.raises(KafkaUnavailable):
        guards.check()
    with pytest.raises(KafkaUnavailable, match="no brokers"):
        asked(guards).check()
    guard.answer = None
    asked(guards).check()
    assert sentences(said) == ["Waiting until it is known whether this stage may work."]


@pytest.mark.parametrize("error", [KafkaUnavailable("no brokers"), ZeroDivisionError("a fault of ours")])
@pytest.mark.parametrize("before", [None, "an hour behind"])
def test_what_a_guard_found_before_holds_while_it_cannot_answer(error: Exception, before: str | None) -> None:
    guard = FakeGuard(answer=before)
    guards = asked(Guards(Metrics(), [guard]))
    guard.answer = error
    assert asked(guards).standing == (before is not None)


def test_a_stage_is_not_ready_while_a_guard_that_has_answered_does_not_any_more() -> None:
    guard, metrics = FakeGuard(), Metrics()
    guards = asked(Guards(metrics, [guard]))
    assert metrics.health.reasons() == []
    guard.answer = KafkaUnavailable("no brokers")
    assert not asked(guards).standing
    assert metrics.health.reasons() == ["no brokers"]
    guard.answer = None
    asked(guards)
    assert metrics.health.reasons() == []


def in_a_while(work: Coroutine[None, None, None], guards: Guards) -> None:
    async def beside() -> None:
        asking = asyncio.create_task(guards.keep())
        try:
            await work
        finally:
            asking.cancel()

    run_in_virtual_time(beside())


def test_each_is_asked_once_a_minute_and_what_waits_goes_on_by_itself(said: LogCapture) -> None:
    guard = FakeGuard(answer="an hour behind")
    guards = Guards(Metrics(), [guard])

    async def work() -> None:
        await asyncio.sleep(2.5 * ASK_SECONDS)
        guard.answer = None
        await guards.until_clear()

    in_a_while(work(), guards)
    assert guard.asked == 4
    # Again once a minute: whoever reads the end of a log sees it too.
    assert sentences(said) == [STANDS] * 3 + [GOES_ON]


def test_a_guard_that_has_not_answered_yet_is_asked_again_soon(said: LogCapture) -> None:
    guard = FakeGuard(answer=KafkaUnavailable("no brokers"))
    guards = Guards(Metrics(), [guard])

    async def work() -> None:
        await asyncio.sleep(2.5)
        guard.answer = None
        async with asyncio.timeout(1):
            await guards.until_clear()

    in_a_while(work(), guards)
    assert guard.asked == 4
    assert STANDS not in sentences(said)


def test_a_guard_that_does_not_answer_any_more_is_asked_again_soon() -> None:
    guard = FakeGuard(answer=None)
    guards = Guards(Metrics(), [guard])

    async def work() -> None:
        await asyncio.sleep(0)
        guard.answer = KafkaUnavailable("no brokers")
        await asyncio.sleep(ASK_SECONDS + 1.5 * SILENT_SECONDS)

    in_a_while(work(), guards)
    assert guard.asked == 3


def test_a_stage_has_begun_once_its_guards_were_asked() -> None:
    metrics = Metrics()
    metrics.ready(STARTING, "it has only begun")

    async def work() -> None:
        await asyncio.sleep(1)
        assert metrics.health.reasons() == []

    in_a_while(work(), Guards(metrics))


def test_a_guard_that_hangs_keeps_no_other_from_answering() -> None:
    hangs, other = FakeGuard(), FakeGuard("topics", "raw is compacted")
    hangs.hangs = True
    guards = Guards(Metrics(), [hangs, other])

    async def work() -> None:
        await asyncio.sleep(ANSWER_SECONDS + 1)

    in_a_while(work(), guards)
    assert guards.reasons["topics"] == "raw is compacted"


def test_guards_load_no_kafka_library() -> None:
    program = "import sys, attendance.guards; print('aiokafka' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
