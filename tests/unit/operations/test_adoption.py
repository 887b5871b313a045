"""A restore: topics whose records have other offsets, which stages and audits go on with as if they had been there."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from installation import Cluster, Installation, punch
from memory_log import StoredRecord

from attendance.accounts import Missing
from attendance.errors import ConfigurationError
from attendance.kafka.records import OutRecord
from attendance.records.dead_letter_action import Action, LetterId
from attendance.times import now
from attendance.topics import Name
from operations.adoption import Plan, adopt
from operations.audit import audit
from operations.audit_report import Report
from operations.dead_letters import State, read_letters
from operations.log import Log, Skipped

SHIFTED: dict[Name, int] = {
    "raw": 40,
    "checkins": 3,
    "dropped": 11,
    "unmapped": 2,
    "dead_letters": 5,
    "dead_letter_actions": 9,
    "deliveries": 1,
    "dedup_state": 7,
    "accounts": 100,
}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(monkeypatch)


def do_adopt(log: Log, **options: Any) -> Plan:
    return asyncio.run(adopt(log, note="restored from the copy of Tuesday", by="fatima", **options))


def look(log: Log) -> Report:
    return asyncio.run(audit(log))


def states(log: Log) -> dict[str, State]:
    async def read() -> dict[str, State]:
        return {str(each.id): each.state async for each in read_letters(log, Skipped())}

    return asyncio.run(read())


def some_days(site: Installation) -> None:
    """Check-ins, a duplicate, a repeat, one who waits, and two letters of which one is discarded."""
    site.arrive(punch(0), punch(10, "2"), punch(0), punch(20, "9"), punch(30, "2"), punch(40))
    site.drain()
    discarded = Action(LetterId(0, 0), "discarded", now(), "fatima", note="left")
    site.log.write(OutRecord(site.log.topics["dead_letter_actions"], discarded.key, discarded.encode()))
    assert states(site.log) == {"0:0": State.DISCARDED, "0:1": State.OPEN}
    assert look(site.log).balanced
    site.arrive(punch(50), punch(60))


def test_without_an_adoption_the_stages_stand_still(site: Installation) -> None:
    some_days(site)
    site.log = site.restored(SHIFTED)
    assert isinstance(site.place("stream"), Missing)
    assert isinstance(site.place("sink"), Missing)


@pytest.mark.parametrize("begins", [SHIFTED, {}], ids=["at higher offsets", "at the same ones, with other times"])
def test_after_an_adoption_everything_goes_on_where_it_was(site: Installation, begins: dict[Name, int]) -> None:
    some_days(site)
    cluster = site.restored(begins)

    do_adopt(cluster)
    site.use(cluster)

    begin = begins.get("raw", 0)
    assert (site.place("stream"), site.place("sink")) == (begin + 6, begins.get("checkins", 0) + 4)
    site.drain()
    site.arrive(punch(0), punch(70))  # a terminal sends what it sent before
    site.drain()
    found = look(cluster)
    assert found.balanced, found
    assert [each.note for each in found.adoptions] == ["restored from the copy of Tuesday"]
    assert (found.raw, found.delivered, found.dropped, found.waiting, found.dead_lettered) == (10, 6, 2, 1, 2) or found
    assert set(site.rows.values()) == {1}
    letter = begins.get("dead_letters", 0)
    assert states(cluster) == {f"0:{letter}": State.DISCARDED, f"0:{letter + 1}": State.OPEN}


def test_a_record_that_was_decided_and_not_committed_is_no_duplicate_of_itself(site: Installation) -> None:
    site.arrive(punch(0), punch(10))
    site.stream()
    site.account()
    site.stream(dies=True)  # its outcome and its state are there
    cluster = site.restored({"raw": 4}, keep=lambda name, each: not (name == "checkins" and each.offset == 1))
    do_adopt(cluster)
    site.use(cluster)
    site.drain()
    assert look(cluster).balanced
    assert site.rows == {punch(0).event_id: 1, punch(10).event_id: 1}


def test_what_a_terminal_sends_again_at_an_old_offset_is_a_duplicate(site: Installation) -> None:
    site.arrive(punch(0), punch(10), punch(20))
    site.drain()
    site.log.retain("raw", 1)
    cluster = site.restored({})  # offsets 1 and 2 are 0 and 1 now
    do_adopt(cluster)
    site.use(cluster)
    site.arrive(punch(20))  # at offset 2, where it was
    site.drain()
    assert site.rows == {punch(minute).event_id: 1 for minute in (0, 10, 20)}
    assert len(cluster.records("checkins")) == 3
    assert look(cluster).balanced


def test_an_outcome_is_not_taken_for_that_of_another_record_at_its_old_offset(site: Installation) -> None:
    site.arrive(punch(0), punch(0), punch(10))
    site.drain()
    cluster = site.restored({"raw": 1})
    do_adopt(cluster)
    site.use(cluster)
    found = look(cluster)
    assert (found.delivered, found.dropped, found.balanced) == (2, 1, True)


def test_a_second_restore_is_adopted_too(site: Installation) -> None:
    some_days(site)
    cluster = site.restored(SHIFTED)
    do_adopt(cluster)
    site.use(cluster)
    site.drain()
    site.arrive(punch(80))
    site.drain()
    again = site.restored({"raw": 3, "checkins": 50, "dead_letters": 2})
    do_adopt(again)
    site.use(again)
    site.arrive(punch(0), punch(90))
    site.drain()
    found = look(again)
    assert found.balanced, found
    assert len(found.adoptions) == 2
    assert set(site.rows.values()) == {1}
    assert states(again) == {"0:2": State.DISCARDED, "0:3": State.OPEN}


def test_where_no_dead_letter_is_known_again_all_count_as_open(site: Installation) -> None:
    some_days(site)
    cluster = site.restored(SHIFTED, keep=lambda name, each: not (name == "accounts" and b"audit" in (each.key or b"")))
    assert do_adopt(cluster).open_again == ["attendance.dead-letters.v1:0"]
    assert states(cluster) == {"0:5": State.OPEN, "0:6": State.OPEN}


def test_records_that_are_not_there_are_named_and_have_to_be_accepted(site: Installation) -> None:
    some_days(site)
    site.drain()
    cluster = site.restored({"raw": 10}, keep=lambda name, each: not (name == "raw" and each.offset in (3, 4, 7)))
    with pytest.raises(ConfigurationError) as refused:
        do_adopt(cluster)
    assert str(refused.value) == (
        "--missing 0: 3 records of before are not there: attendance.raw.v1:0 offsets 3 to 4, offsets 7 to 7. Restore "
        "them, or give --missing 3, which accepts that they are lost"
    )
    assert not [each for each in cluster.records("accounts") if b"adoption" in (each.key or b"")]
    do_adopt(cluster, missing=3)
    site.use(cluster)
    site.drain()
    found = look(cluster)
    assert found.balanced, found
    assert [each.missing for each in found.adoptions] == [3]


def test_a_changelog_that_lacks_its_end_is_made_again_of_the_raw_records(site: Installation) -> None:
    site.arrive(punch(0), punch(10), punch(20))
    for _ in range(3):
        site.stream()
    site.sink(3)
    site.account()
    cluster = site.restored({"raw": 5}, keep=lambda name, each: not (name == "dedup_state" and each.offset >= 1))
    plan = do_adopt(cluster)
    assert plan.decided_again == ["attendance.dedup-state.v1:0"]
    site.use(cluster)
    assert site.place("stream") == 6
    site.drain()
    site.arrive(punch(10), punch(20))
    site.drain()
    assert [len(cluster.records(name)) for name in ("dropped", "checkins")] == [2, 5]
    assert look(cluster).balanced


def test_what_came_before_the_rest_was_restored_is_not_passed_over(site: Installation) -> None:
    some_days(site)
    site.log.retain("raw", 2)
    site.log.retain("dropped", 0)
    cluster = site.restored({"raw": 1})
    early = punch(100)
    cluster.put("raw", StoredRecord(cluster.topics["raw"], 0, 0, cluster.clock, early.key, early.encode()))
    cluster.first["raw", 0] = 0
    with pytest.raises(ConfigurationError, match="offset 0 was not there before"):
        do_adopt(cluster)


def test_raw_records_without_an_outcome_are_not_passed_over(site: Installation) -> None:
    site.arrive(punch(0), punch(10), punch(20))
    site.drain()
    cluster = site.restored({"raw": 4}, keep=lambda name, _: name not in ("checkins", "deliveries"))
    with pytest.raises(ConfigurationError, match=r"3 in attendance\.raw\.v1:0 from offset 4 on"):
        do_adopt(cluster)
    do_adopt(cluster, decide_again=True)
    site.use(cluster)
    site.drain()
    assert look(cluster).balanced
    assert len(cluster.records("checkins")) == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda _: None, "every record is where it was", id="nothing was restored"),
        pytest.param(
            lambda log: [log.remove(name, lambda _: True) for name in ("raw", "checkins")],
            "nothing was restored",
            id="empty topics",
        ),
        pytest.param(lambda log: log.remove("accounts", lambda _: True), "has no account", id="no accounts"),
        pytest.param(
            lambda log: log.in_groups.update(stream=["punchstream-stream"]),
            "stream is running (punchstream-stream); stop every stage",
            id="a stage runs",
        ),
    ],
)
def test_where_an_adoption_is_wrong_nothing_is_done(site: Installation, change: Any, why: str) -> None:
    some_days(site)
    cluster = site.restored({}, same_times=True)
    change(cluster)
    with pytest.raises(ConfigurationError) as refused:
        do_adopt(cluster)
    assert why in str(refused.value)
    assert not cluster.groups


def test_a_record_that_is_there_twice_is_refused(site: Installation) -> None:
    some_days(site)
    cluster = Cluster()
    for each in site.restored({}).records("raw"):
        for _ in range(2):
            cluster.add("raw", each.key, each.value, each.headers, timestamp=each.timestamp)
    for name in ("checkins", "dropped", "unmapped", "dead_letters", "deliveries", "dedup_state", "accounts"):
        cluster.put(name, *site.log.records(name))
    with pytest.raises(ConfigurationError, match=r"is there twice|is not certain"):
        do_adopt(cluster)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(site: Installation) -> None:
    some_days(site)
    cluster = site.restored(SHIFTED)
    accounts = cluster.records("accounts")
    plan = do_adopt(cluster, dry_run=True)
    assert "attendance.raw.v1:0: offsets 0 to 7 are there, now from 40 on" in list(plan.lines(cluster.topics))
    assert "attendance.raw.v1:0: stream goes on at offset 46" in list(plan.lines(cluster.topics))
    assert (cluster.groups, cluster.records("accounts")) == ({}, accounts)


acts = st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.tuples(st.integers(0, 6), st.sampled_from("129")), max_size=4)),
    st.tuples(st.just("stream"), st.integers(1, 4)),
    st.tuples(st.just("die"), st.integers(1, 4)),
    st.tuples(st.just("sink"), st.integers(1, 4)),
    st.tuples(st.just("account"), st.none()),
    st.tuples(st.just("retain"), st.none()),
    st.tuples(st.just("restore"), st.fixed_dictionaries({name: st.integers(0, 9) for name in SHIFTED})),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(acts, max_size=25))
@example([("arrive", [(0, "9")]), ("stream", 1), ("account", None), ("restore", {"checkins": 1})])
@example([("arrive", [(0, "1"), (0, "1")]), ("stream", 1), ("account", None), ("retain", None), ("restore", {})])
def test_whatever_happened_before_nothing_is_lost_or_double(history: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        site = Installation(patch)
        site.account()
        has_died = any(act == "die" for act, _ in history)
        try:
            for act, what in history:
                _do(site, act, what)
        except ConfigurationError as error:
            # What was sent twice may have two places; to refuse that loses nothing.
            if has_died and "it is not certain which records" in str(error):
                return
            raise
        site.drain()
        found = look(site.log)
        assert found.balanced, found
        arrived = {
            punch(10 * minute, user).event_id
            for act, what in history
            for minute, user in (what if act == "arrive" else ())
            if user == "1"
        }
        assert site.rows.keys() == arrived
        # What was decided and not committed is decided again, and sent again; the target knows it by its event.
        if not has_died:
            assert set(site.rows.values()) <= {1}


def _do(site: Installation, act: str, what: Any) -> None:
    match act:
        case "arrive":
            site.arrive(*(punch(10 * minute, user) for minute, user in what))
        case "stream":
            site.stream(what)
        case "die":
            site.stream(what, dies=True)
        case "sink":
            site.sink(what)
        case "account":
            site.account()
        case "retain":
            site.log.retain("raw", site.accounted("stream"))
        case "restore":
            cluster = site.restored(what)
            if _adopted(cluster):
                site.use(cluster)
            else:
                site.start()


def _adopted(cluster: Cluster) -> bool:
    try:
        do_adopt(cluster)
    except ConfigurationError as error:
        # Only where there is nothing yet that could be known again, or nothing is elsewhere.
        if "nothing was restored" in str(error) or "every record is where it was" in str(error):
            return False
        raise
    return True
