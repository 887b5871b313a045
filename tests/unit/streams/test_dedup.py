"""Removal of duplicates and repeats decides by event time, whatever the order of arrival."""

from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streams.dedup import (
    PUNCH_BYTES,
    Classification,
    Punch,
    Verdict,
    between,
    classify,
    insert,
    reaches,
    union,
    unpack,
)

WINDOW = 60
HORIZON = 90 * 86400
T = 1_800_000_000
UNKNOWN, IN, OUT = 0, 1, 2

punches = st.builds(
    Punch,
    seconds=st.integers(T, T + 3600),
    code=st.sampled_from([UNKNOWN, IN, OUT]),
    offset=st.integers(0, 10_000),
)


def pack(*kept: Punch) -> bytes:
    return b"".join(punch.pack() for punch in kept)


def feed(
    arrivals: list[Punch], window: int = WINDOW, horizon: int = HORIZON
) -> tuple[list[Punch], list[Classification]]:
    kept = b""
    found = []
    for punch in arrivals:
        found.append(classify(kept, punch, window))
        if found[-1].verdict is Verdict.NEW:
            kept = insert(kept, punch.pack(), horizon)
        if found[-1].confirmed is not None:
            kept = insert(kept, found[-1].confirmed.pack(), horizon)
    return unpack(kept), found


def same_kind(one: Punch, other: Punch) -> bool:
    return one.code == other.code or UNKNOWN in (one.code, other.code)


def test_a_first_punch_is_new() -> None:
    assert classify(b"", Punch(T, IN, 1), WINDOW) == Classification(Verdict.NEW)


def test_the_same_punch_from_another_record_is_a_duplicate() -> None:
    kept = Punch(T, IN, 1)

    assert classify(kept.pack(), Punch(T, IN, 2), WINDOW) == Classification(Verdict.DUPLICATE, kept)


def test_the_same_record_again_is_a_redelivery_and_never_a_duplicate() -> None:
    kept = Punch(T, IN, 7)

    assert classify(kept.pack(), kept, WINDOW) == Classification(Verdict.REDELIVERY, kept)


def test_a_second_tap_within_the_window_is_a_repeat_of_the_nearest() -> None:
    early, late = Punch(T, IN, 1), Punch(T + 100, IN, 2)

    assert classify(pack(early, late), Punch(T + 55, IN, 3), WINDOW) == Classification(Verdict.REPEAT, late)


def test_the_window_includes_its_edge_and_ends_there() -> None:
    kept = Punch(T, IN, 1).pack()

    assert classify(kept, Punch(T + 60, IN, 2), WINDOW).verdict is Verdict.REPEAT
    assert classify(kept, Punch(T + 61, IN, 2), WINDOW).verdict is Verdict.NEW
    assert classify(kept, Punch(T - 60, IN, 2), WINDOW).verdict is Verdict.REPEAT


def test_in_and_out_within_the_window_are_two_punches() -> None:
    assert classify(Punch(T, IN, 1).pack(), Punch(T + 5, OUT, 2), WINDOW).verdict is Verdict.NEW


def test_an_unknown_direction_repeats_either() -> None:
    assert classify(Punch(T, OUT, 1).pack(), Punch(T, UNKNOWN, 2), WINDOW).verdict is Verdict.REPEAT
    assert classify(Punch(T, UNKNOWN, 1).pack(), Punch(T + 5, IN, 2), WINDOW).verdict is Verdict.REPEAT


def test_a_list_reaches_back_no_further_than_the_horizon() -> None:
    old, edge, new = Punch(T, IN, 1), Punch(T + 1, IN, 2), Punch(T + 1 + HORIZON, IN, 3)

    assert insert(pack(old, edge), new.pack(), HORIZON) == pack(edge, new)


def test_a_punch_from_before_the_horizon_is_not_kept() -> None:
    recent = Punch(T, IN, 1)

    assert insert(recent.pack(), Punch(T - HORIZON - 1, IN, 2).pack(), HORIZON) == recent.pack()


def test_a_punch_knows_its_time_and_type() -> None:
    time = datetime(2026, 1, 1, 5, tzinfo=UTC)
    punch = Punch.of(time, "OUT", 9)

    assert (punch.time, punch.event_type, punch.offset) == (time, "OUT", 9)


@given(st.lists(punches))
def test_a_list_survives_packing(kept: list[Punch]) -> None:
    assert unpack(pack(*kept)) == kept
    assert len(pack(*kept)) == len(kept) * PUNCH_BYTES


@given(st.lists(punches), st.lists(punches))
def test_punches_inserted_in_any_order_and_more_than_once_make_one_sorted_list(
    first: list[Punch], second: list[Punch]
) -> None:
    kept = b""
    for punch in [*first, *second, *first]:
        kept = insert(kept, punch.pack(), HORIZON)

    assert unpack(kept) == sorted({*first, *second})


@given(st.lists(punches, unique_by=lambda punch: punch.offset))
def test_whatever_the_order_no_two_kept_punches_repeat_each_other_and_every_dropped_one_repeats_a_kept(
    arrivals: list[Punch],
) -> None:
    kept, found = feed(arrivals)

    for i, one in enumerate(kept):
        for other in kept[i + 1 :]:
            assert not same_kind(one, other) or abs(one.seconds - other.seconds) > WINDOW
    for punch, each in zip(arrivals, found, strict=True):
        if each.verdict is not Verdict.NEW:
            assert each.kept is not None
            assert each.kept in kept
            assert same_kind(punch, each.kept)
            assert abs(punch.seconds - each.kept.seconds) <= WINDOW


@given(st.data(), st.lists(st.tuples(st.integers(0, 50), st.sampled_from([IN, OUT])), unique=True))
def test_the_order_of_arrival_does_not_change_what_is_kept_of_punches_further_apart_than_the_window(
    data: st.DataObject, spaced: list[tuple[int, int]]
) -> None:
    genuine = [Punch(T + slot * (WINDOW + 1), code, n) for n, (slot, code) in enumerate(spaced)]
    resent = [punch._replace(offset=100 + n) for n, punch in enumerate(genuine)]

    kept, _ = feed(data.draw(st.permutations(genuine + resent)))

    assert [punch[:2] for punch in kept] == sorted(punch[:2] for punch in genuine)


@given(st.lists(punches, unique_by=lambda punch: punch.offset))
def test_redelivery_of_every_record_changes_nothing(arrivals: list[Punch]) -> None:
    kept, first = feed(arrivals)

    for punch, each in zip(arrivals, first, strict=True):
        again = classify(pack(*kept), punch, WINDOW)
        if each.verdict is Verdict.NEW:
            assert again.verdict is Verdict.REDELIVERY
        else:
            assert again.verdict is each.verdict


@given(st.lists(punches))
def test_the_size_of_a_list_is_bounded_by_window_and_horizon(arrivals: list[Punch]) -> None:
    horizon = 600
    kept, _ = feed(arrivals, horizon=horizon)

    # Of one kind at most one punch in each stretch of a window; two kinds, IN and OUT, may stand side by side.
    assert len(kept) <= 2 * (horizon // WINDOW + 1)


leads = st.one_of(st.just(0.0), st.floats(0.001, 400))
dated = st.builds(
    lambda seconds, kind, ahead, offset: Punch.of(datetime.fromtimestamp(seconds, UTC), kind, offset, ahead),
    st.integers(T, T + 300),
    st.sampled_from(["UNKNOWN", "IN", "OUT"]),
    leads,
    st.integers(0, 10_000),
)
arriving = st.lists(dated, max_size=25, unique_by=lambda punch: punch.offset)


def lead(punch: Punch) -> int:
    return punch.as_it_was().code >> 2


def ids(kept: list[Punch]) -> set[tuple[int, str]]:
    return {(punch.seconds, punch.event_type) for punch in kept}


@given(arriving, st.integers(0, 600))
def test_whatever_is_dated_ahead_of_its_arrival_what_is_not_is_kept_as_if_nothing_of_that_had_come(
    arrivals: list[Punch], window: int
) -> None:
    genuine = [punch for punch in arrivals if lead(punch) == 0]

    kept, found = feed(arrivals, window)
    alone, expected = feed(genuine, window)

    assert ids([punch for punch in kept if lead(punch) == 0]) == ids(alone)
    decided = {punch.offset: each for punch, each in zip(arrivals, found, strict=True)}
    for punch, each in zip(genuine, expected, strict=True):
        if each.verdict is Verdict.NEW:
            # Kept, or the very punch that is: of the same time, person and direction.
            verdict, same, _ = decided[punch.offset]
            assert verdict is Verdict.NEW or (verdict is Verdict.DUPLICATE and same is not None and same.is_same(punch))


@given(arriving, st.integers(0, 600))
def test_no_punch_drops_one_that_was_less_ahead_than_a_clock_is_uneven(arrivals: list[Punch], window: int) -> None:
    kept, found = feed(arrivals, window)

    assert len(ids(kept)) == len(kept)
    for punch, (verdict, by, _) in zip(arrivals, found, strict=True):
        if verdict is Verdict.REPEAT:
            assert by is not None
            assert lead(by) == 0 or 0 < lead(by) <= lead(punch) + 1 > 1


def test_second_taps_on_a_clock_that_is_ahead_stay_repeats_also_when_its_whole_memory_comes_again() -> None:
    taps = [Punch.of(datetime.fromtimestamp(T + n, UTC), "IN", n, 17.0 + n) for n in (0, 4, 9)]
    again = [Punch.of(datetime.fromtimestamp(T + n, UTC), "IN", 100 + n) for n in (0, 4, 9)]

    kept, found = feed(taps + again)

    assert ids(kept) == {(T, "IN")}
    assert [each.verdict for each in found[1:]] == [
        Verdict.REPEAT, Verdict.REPEAT, Verdict.DUPLICATE, Verdict.REPEAT, Verdict.REPEAT
    ]  # fmt: skip


@given(st.lists(dated, max_size=8), st.randoms())
def test_of_one_record_the_entry_that_is_least_ahead_stays_in_whichever_order_the_changelog_is_read(
    entries: list[Punch], random: Random
) -> None:
    confirmed = [punch._replace(code=punch.code & 3) for punch in entries[::2]]
    changelog = entries + confirmed
    random.shuffle(changelog)

    kept = union(b"", *(punch.pack() for punch in changelog))

    least: dict[tuple[int, int, int], int] = {}
    for punch in changelog:
        record = punch.seconds, punch.code & 3, punch.offset
        least[record] = min(least.get(record, 99), lead(punch))
    assert {(p.seconds, p.code & 3, p.offset): lead(p) for p in unpack(kept)} == least
    assert unpack(kept) == sorted(unpack(kept))


corrected = st.lists(st.tuples(punches, st.booleans()), max_size=12)


@given(corrected, st.randoms())
def test_a_superseded_entry_wins_over_its_punch_in_whichever_order_the_changelog_is_read(
    changelog: list[tuple[Punch, bool]], random: Random
) -> None:
    entries = [punch.pack() for punch, _ in changelog] + [
        punch.as_superseded().pack() for punch, is_replaced in changelog if is_replaced
    ]
    replaced = {punch for punch, is_replaced in changelog if is_replaced}
    random.shuffle(entries)

    kept = b""
    for entry in entries:
        kept = insert(kept, entry, HORIZON)

    assert {punch for punch in unpack(kept) if not punch.is_superseded} == {punch for punch, _ in changelog} - replaced
    assert {punch for punch in unpack(kept) if punch.is_superseded} == {punch.as_superseded() for punch in replaced}
    assert unpack(kept) == sorted(unpack(kept))


def test_what_is_near_a_superseded_entry_is_told_apart_from_a_repeat_and_its_own_record_is_known_by_it() -> None:
    superseded = Punch(T, IN, 7)
    kept = insert(superseded.pack(), superseded.as_superseded().pack(), HORIZON)

    near = Classification(Verdict.NEAR_SUPERSEDED, superseded)
    assert classify(kept, Punch(T, IN, 8), WINDOW) == near
    assert classify(kept, Punch(T + 9, UNKNOWN, 9), WINDOW) == near
    assert classify(kept, Punch(T + 9, OUT, 9), WINDOW) == Classification(Verdict.NEW)
    assert classify(kept, superseded, WINDOW) == Classification(Verdict.SUPERSEDED, superseded)


@given(st.lists(punches), punches, st.integers(1, 1000))
def test_a_list_that_reaches_as_far_as_a_punch_decides_as_everything_would(
    arrivals: list[Punch], punch: Punch, horizon: int
) -> None:
    short = everything = b""
    for each in arrivals:
        everything = union(everything, each.pack())
        short = insert(short, each.pack(), horizon)

    if reaches(short, punch.seconds - WINDOW, 0, horizon):
        assert classify(short, punch, WINDOW) == classify(everything, punch, WINDOW)


def test_no_list_reaches_back_to_the_floor() -> None:
    assert reaches(b"", T, T - 1, HORIZON)
    assert not reaches(b"", T, T, HORIZON)


@given(st.lists(punches), st.integers(0, 3600), st.integers(0, 3600))
def test_a_part_of_a_list_has_what_is_between_two_times(kept: list[Punch], first: int, length: int) -> None:
    everything = union(b"", *(punch.pack() for punch in kept))

    part = unpack(between(everything, T + first, T + first + length))

    assert part == [punch for punch in unpack(everything) if T + first <= punch.seconds <= T + first + length]
