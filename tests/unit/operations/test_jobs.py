"""A job is stored before it runs, is run by one process at a time, and is done to the end whatever is killed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_log import StoredRecord

from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable, Reason
from attendance.kafka.records import OutRecord
from attendance.records.account import Adoption
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.job import JobAsked, JobKind, JobProgress, LettersWanted
from attendance.records.unread import UnreadRequest
from attendance.settings import KafkaSettings
from memory_broker import MemoryBroker, install
from operations import job_runner
from operations.dead_letters import Selection
from operations.job_runner import PROGRESS_SECONDS, JobRunner
from operations.jobs import LEASE, MOST_IDS, Job, Jobs, cancel, new_job, plan_job, read_jobs, store
from operations.log import KafkaLog, Log, Send
from operations.reading_again import NotUnderstood, Reading
from virtual_time import run_in_virtual_time

T = TypeVar("T")
AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
DAY_LATER = timedelta(days=1)


def not_understood(_request: UnreadRequest) -> Reading:
    raise NotUnderstood("json: not JSON")


class Killed(KafkaLog):
    """The topics for a process that is killed: no record after the first `most` reaches them."""

    def __init__(self, settings: KafkaSettings, most: int) -> None:
        super().__init__(settings, "killed")
        self._left = most

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        async with super().sending() as send:

            async def until_killed(*records: OutRecord) -> object:
                if self._left < len(records):
                    await asyncio.Event().wait()
                self._left -= len(records)
                return await send(*records)

            yield until_killed


class Site:
    """A broker whose clock is that of the event loop, with dead letters of raw records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker: MemoryBroker
        self.broker, self.kafka = install(monkeypatch, partitions=1)
        self.broker.clock = lambda: self.clock().timestamp()
        self.log = KafkaLog(self.kafka, "test")
        self.later = timedelta()

    def clock(self) -> datetime:
        try:
            seconds = asyncio.get_running_loop().time()
        except RuntimeError:
            seconds = 0
        return AT + self.later + timedelta(seconds=seconds)

    def fail(self, count: int, reason: Reason = Reason.IMPLAUSIBLE_TIME, topic: str | None = "raw") -> None:
        for number in range(count):
            full = None if topic is None else f"{self.kafka.topics.prefix}.{topic}.v1"
            letter = DeadLetter(
                *("stream", reason, "no", AT, b"D1", b"%s %d" % (reason.encode(), number)),
                topic=full,
                partition=0 if full else None,
                offset=number if full else None,
                where=None if full else "http:/v1/events",
            )
            self.put(letter.to_record(self.kafka.topics["dead_letters"]))

    def put(self, record: OutRecord) -> None:
        self.broker.put(record.topic, record.value, record.key, headers=tuple(record.headers))

    def ask(
        self,
        kind: JobKind = "replay_letters",
        note: str | None = None,
        ids: frozenset[LetterId] = frozenset(),
        **wanted: Any,
    ) -> str:
        async def ask() -> str:
            asked = await new_job(self.log, kind, replace(Selection.of(**wanted), ids=ids), "fatima", note)
            await store(self.log, asked)
            return asked.job_id

        return run_in_virtual_time(ask())

    def runner(self, per_second: float = 100, log: Log | None = None) -> JobRunner:
        return JobRunner(log or self.log, not_understood, per_second=per_second, clock=self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return run_in_virtual_time(work)

    def job(self, job_id: str) -> Job:
        job = run_in_virtual_time(read_jobs(self.log)).get(job_id)
        assert job is not None
        return job

    def sent(self) -> Counter[bytes | None]:
        """What was sent to the raw topic, with how often."""
        return Counter(self.broker.values(self.kafka.topics["raw"]))

    def actions(self) -> list[Action]:
        records = self.broker.records(self.kafka.topics["dead_letter_actions"])
        return [Action.decode(each.key, each.value) for each in records]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def numbers(job: Job) -> tuple[int | None, int, int, int]:
    assert job.progress is not None
    return job.progress.total, job.progress.done, job.progress.refused, job.progress.failed


def test_a_job_replays_what_its_filter_takes_in_the_name_of_who_asked(site: Site) -> None:
    site.fail(3)
    site.fail(2, Reason.CLOCK_SKEW)
    site.fail(1, topic=None)
    job_id = site.ask(reason=Reason.IMPLAUSIBLE_TIME)
    assert site.job(job_id).state == "queued"
    (over,) = site.run(site.runner().run_all())
    assert (over.state, numbers(over)) == ("done", (3, 3, 1, 0))
    assert over.progress is not None
    assert "never became a record" in over.progress.problems[0]
    assert site.sent() == {b"implausible_time %d" % number: 1 for number in range(3)}
    assert {each.by for each in site.actions()} == {"fatima"}
    assert site.run(site.runner().run_all()) == []


def test_what_comes_after_the_asking_is_no_part_of_a_job(site: Site) -> None:
    site.fail(2)
    job_id = site.ask()
    site.fail(4)
    site.run(site.runner().run_all())
    assert numbers(site.job(job_id)) == (2, 2, 0, 0)
    assert site.sent().total() == 2


def test_a_count_before_stores_nothing_and_is_what_the_job_does(site: Site) -> None:
    site.fail(5)
    asked = site.run(new_job(site.log, "replay_letters", Selection(), "fatima"))
    assert len(site.run(plan_job(site.log, asked, not_understood)).ids) == 5
    assert site.run(read_jobs(site.log)).all() == []


def test_a_discard_needs_a_note_and_records_it_with_each_letter(site: Site) -> None:
    site.fail(2)
    with pytest.raises(ConfigurationError, match="note"):
        site.ask("discard_letters", " ")
    job_id = site.ask("discard_letters", "a trial")
    site.run(site.runner().run_all())
    assert [(each.action, each.note) for each in site.actions()] == [("discarded", "a trial")] * 2
    assert numbers(site.job(job_id)) == (2, 2, 0, 0)


# A claim, the total, each letter with its action, and the end; or the discards at once.
KILLED = [("replay_letters", most, 13) for most in (0, 1, 2, 3, 4, 11, 12, 13)]
KILLED += [("discard_letters", most, 8) for most in (1, 2, 7, 8)]


@pytest.mark.parametrize(("kind", "most", "all_"), KILLED)
def test_a_job_goes_on_after_its_process_was_killed(site: Site, kind: JobKind, most: int, all_: int) -> None:
    site.fail(5)
    job_id = site.ask(kind, "why")

    async def killed() -> None:
        task = asyncio.create_task(site.runner(log=Killed(site.kafka, most)).run_all())
        await asyncio.sleep(20)
        task.cancel()
        await asyncio.wait([task])

    site.run(killed())
    site.later = DAY_LATER
    over = site.run(site.runner().run_all())
    assert len(over) == (most < all_)
    assert (site.job(job_id).state, numbers(site.job(job_id))) == ("done", (5, 5, 0, 0))
    # Each letter once; the one in hand when the process was killed may be sent twice, and does no harm.
    assert len(site.actions()) == 5
    if kind == "replay_letters":
        assert len(site.sent()) == 5
        assert site.sent().total() <= 6


def test_a_process_that_is_to_end_finishes_the_letter_in_hand_and_no_letter_is_sent_twice(site: Site) -> None:
    site.fail(20)
    job_id = site.ask()

    async def ended(seconds: float) -> None:
        task = asyncio.create_task(site.runner(per_second=2).run_all())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])

    for seconds in (0.1, 1.7, 3.0):
        site.run(ended(seconds))
        site.later += DAY_LATER
    assert site.sent().total() == len(site.actions()) < 20
    site.run(site.runner().run_all())
    assert site.sent().total() == len(site.actions()) == 20
    assert numbers(site.job(job_id)) == (20, 20, 0, 0)


def test_a_process_that_cannot_say_that_it_is_there_takes_no_further_letter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fail(300)
    job_id = site.ask()

    async def slow(*_: object) -> None:
        await asyncio.sleep(10 * LEASE.total_seconds())

    async def run() -> list[Job]:
        task = asyncio.create_task(site.runner(per_second=1).run_all())
        await asyncio.sleep(1)
        with monkeypatch.context() as away:
            away.setattr(job_runner, "send", slow)
            await asyncio.sleep(LEASE.total_seconds() + 1)
            done = len(site.actions())
            await asyncio.sleep(2 * LEASE.total_seconds())
            assert 1 < len(site.actions()) == done
        return await task

    assert site.run(run()) == []
    assert site.job(job_id).state == "running"


def test_of_several_processes_one_runs_a_job(site: Site) -> None:
    site.fail(30)
    job_id = site.ask()

    async def together() -> list[list[Job]]:
        return list(await asyncio.gather(*(site.runner(per_second=1).run_all() for _ in range(3))))

    over = site.run(together())
    assert sum(map(len, over)) == 1
    assert site.sent().total() == len(site.actions()) == 30
    assert site.job(job_id).state == "done"


def test_a_job_whose_process_still_says_so_is_not_claimed(site: Site) -> None:
    site.fail(200)
    site.ask()

    async def beside() -> list[Job]:
        first = asyncio.create_task(site.runner(per_second=1).run_all())
        await asyncio.sleep(2 * LEASE.total_seconds())
        found = await site.runner().run_all()
        first.cancel()
        await asyncio.wait([first])
        return found

    assert site.run(beside()) == []


def test_a_job_that_nobody_has_begun_is_cancelled_at_once(site: Site) -> None:
    site.fail(2)
    job_id = site.ask()
    site.run(cancel(site.log, job_id, "omar"))
    assert site.job(job_id).state == "cancelled"
    assert site.run(site.runner().run_all()) == []
    assert not site.sent()
    with pytest.raises(ConfigurationError, match="cancelled already"):
        site.run(cancel(site.log, job_id, "omar"))
    with pytest.raises(ConfigurationError, match="no such job"):
        site.run(cancel(site.log, "5e", "omar"))


def test_jobs_are_done_one_after_the_other_so_that_two_never_take_the_same_letter(site: Site) -> None:
    site.fail(10)
    jobs = [site.ask(), site.ask(reason=Reason.IMPLAUSIBLE_TIME), site.ask(device="D1")]

    async def together() -> None:
        await asyncio.gather(*(site.runner(per_second=1).run_all() for _ in range(3)))

    site.run(together())
    assert site.sent().total() == 10
    assert [numbers(site.job(each))[:2] for each in jobs] == [(10, 10), (0, 0), (0, 0)]


def test_a_job_that_was_cancelled_while_its_process_was_gone_does_no_further_letter(site: Site) -> None:
    site.fail(5)
    job_id = site.ask()

    async def killed() -> None:
        task = asyncio.create_task(site.runner(log=Killed(site.kafka, 4)).run_all())
        await asyncio.sleep(20)
        task.cancel()
        await asyncio.wait([task])
        await cancel(site.log, job_id, "omar")

    site.run(killed())
    assert site.job(job_id).state == "running"
    site.later = DAY_LATER
    site.run(site.runner().run_all())
    assert site.job(job_id).state == "cancelled"
    assert (numbers(site.job(job_id))[0], len(site.actions())) == (5, 1)


def test_a_job_over_named_letters_takes_those_and_no_more_than_one_record_can_name(site: Site) -> None:
    site.fail(4)
    ids = frozenset((LetterId(0, 1), LetterId(0, 3)))
    job_id = site.ask(ids=ids)
    site.run(site.runner().run_all())
    assert {each.letter for each in site.actions()} == ids
    assert numbers(site.job(job_id)) == (2, 2, 0, 0)
    with pytest.raises(ConfigurationError, match="at most"):
        site.ask(ids=frozenset(LetterId(0, each) for each in range(MOST_IDS + 1)))


def test_a_job_of_before_a_restore_takes_no_letter_for_another(site: Site) -> None:
    site.fail(2)
    job_id = site.ask(ids=frozenset((LetterId(0, 1),)))
    adopted = Adoption(at=AT, by="root", note="restored")
    site.put(OutRecord(site.kafka.topics["accounts"], adopted.key, adopted.encode()))
    site.run(site.runner().run_all())
    job = site.job(job_id)
    assert (job.state, site.sent()) == ("failed", Counter())
    assert job.progress is not None
    assert "ask for it again" in job.progress.problems[0]


def test_a_job_that_runs_stops_within_seconds_and_says_what_it_has_done(site: Site) -> None:
    site.fail(100)
    job_id = site.ask()

    async def stopped() -> list[Job]:
        task = asyncio.create_task(site.runner(per_second=1).run_all())
        await asyncio.sleep(12)
        await cancel(site.log, job_id, "omar")
        return await task

    (over,) = site.run(stopped())
    total, done, _, _ = numbers(over)
    assert (over.state, total) == ("cancelled", 100)
    assert done == len(site.actions())
    assert 1 <= done <= 12 + 2 * PROGRESS_SECONDS


def test_a_job_that_cannot_be_done_fails_and_those_after_it_are_done(site: Site) -> None:
    site.fail(1)
    wrong = JobAsked("5e" * 8, "replay_letters", LettersWanted({0: 1}, ("no id",)), AT, "fatima")
    site.run(store(site.log, wrong))
    job_id = site.ask()
    site.run(site.runner().run_all())
    failed = site.job(wrong.job_id)
    assert failed.state == "failed"
    assert failed.progress is not None
    assert "partition:offset" in failed.progress.problems[0]
    assert site.job(job_id).state == "done"


def test_a_job_waits_for_kafka_and_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.fail(3)
    job_id = site.ask()

    async def unavailable(*_: object, **__: object) -> None:
        raise KafkaUnavailable("no answer")

    with monkeypatch.context() as away:
        away.setattr(job_runner, "replay", unavailable)
        with pytest.raises(KafkaUnavailable):
            site.run(site.runner().run_all())
    assert site.job(job_id).state == "running"
    site.later = DAY_LATER
    site.run(site.runner().run_all())
    assert (site.job(job_id).state, site.sent().total()) == ("done", 3)


def test_a_process_that_keeps_running_jobs_does_each_soon_and_goes_on_after_kafka_was_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fail(2)
    first, known = site.ask(), Jobs()

    async def away(*_: object, **__: object) -> Jobs:
        raise KafkaUnavailable("no answer")

    async def keep() -> None:
        job = (await read_jobs(site.log)).get(first)
        assert job is not None
        known.put(job)
        task = asyncio.create_task(site.runner().keep(known))
        with monkeypatch.context() as without_kafka:
            without_kafka.setattr(job_runner, "read_jobs", away)
            await asyncio.sleep(5)
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])

    site.run(keep())
    assert (site.job(first).state, site.sent().total()) == ("done", 2)


def test_jobs_that_are_followed_forget_what_the_topic_has_no_more_and_pass_over_what_nobody_can_read() -> None:
    known = Jobs()
    known.learn(records((ASKED, 0))[0])
    known.learn(StoredRecord("jobs", 0, 1, 0, b"?", b"?"))
    assert [each.asked for each in known.all()] == [ASKED]
    known.learn(StoredRecord("jobs", 0, 2, 0, claim("A").key, None))
    assert known.get(ASKED.job_id) is not None
    known.learn(StoredRecord("jobs", 0, 3, 0, ASKED.key, None))
    assert known.all() == []


def records(*said: tuple[JobAsked | JobProgress, float]) -> list[StoredRecord]:
    """The records of a topic, each with the second in which the broker took it."""
    return [
        StoredRecord("jobs", 0, offset, int((AT.timestamp() + second) * 1000), each.key, each.encode())
        for offset, (each, second) in enumerate(said)
    ]


ASKED = JobAsked("5e" * 8, "replay_letters", LettersWanted({}), AT, "fatima")
claim: Callable[[str], JobProgress] = lambda owner: JobProgress(ASKED.job_id, owner, "running", AT)  # noqa: E731


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 150)), min_size=1, max_size=12))
def test_a_job_changes_hands_only_once_its_process_was_silent_for_the_lease(said: list[tuple[str, float]]) -> None:
    known, second, last, owner = Jobs(), 0.0, 0.0, None
    known.take(records((ASKED, 0))[0])
    for name, pause in said:
        second += pause
        (record,) = records((claim(name), second))
        known.take(record)
        if owner in (None, name) or int(second * 1000) - int(last * 1000) > LEASE.total_seconds() * 1000:
            owner, last = name, second
        job = known.get(ASKED.job_id)
        assert job is not None
        assert job.progress is not None
        assert job.progress.owner == owner


def test_a_record_that_cannot_be_read_changes_nothing_and_one_of_an_unknown_job_neither() -> None:
    known = Jobs()
    with pytest.raises(InvalidRecord):
        known.take(StoredRecord("jobs", 0, 0, 0, b'["asked","x"]', b"{}"))
    known.take(records((claim("A"), 0))[0])
    assert known.all() == []
