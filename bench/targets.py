"""What the product is meant to reach, and how near the last results come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Tables = Mapping[str, Mapping[str, Any]]
"""Part and table to the table as it was saved."""

_BARE: Final = "bare Starlette"
_SINK: Final = "punchstream sink"
_OWN_TIME: Final = "insert_many alone: ERPNext's own time"


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table of targets. `figure` raises LookupError where nothing was measured.

    `answer` tells what holds it back where it is out of reach, and raises LookupError likewise.
    """

    what: str
    wanted: str
    figure: Callable[[Tables], float]
    met: Callable[[float], bool]
    form: str = "{:.2f}"
    answer: Callable[[Tables], str] | None = None


def middle(value: Any) -> float:  # noqa: ANN401 - JSON
    """A figure, or the median of its repetitions."""
    return float(value["median"] if isinstance(value, dict) else value)


def _at(part: str, table: str, column: str, value: object, figure: str) -> Callable[[Tables], float]:
    def find(tables: Tables) -> float:
        for row in tables[part][table]["rows"]:
            if row.get(column) == value:
                return middle(row[figure])
        raise LookupError(f"{part}, {table}: no {column} {value}")

    return find


def _divided(one: Callable[[Tables], float], other: Callable[[Tables], float]) -> Callable[[Tables], float]:
    return lambda tables: one(tables) / other(tables)


def _last(part: str, table: str, figure: str) -> Callable[[Tables], float]:
    return lambda tables: middle(tables[part][table]["rows"][-1][figure])


def _most(part: str, table: str, figure: str) -> Callable[[Tables], float]:
    return lambda tables: max(middle(row[figure]) for row in tables[part][table]["rows"])


def _cpu(table: str, what: str) -> Callable[[Tables], float]:
    return _at("stream", table, "what", what, "CPU µs/event")


def _beyond_kafka(tables: Tables) -> float:
    rows = tables["stream"]["rebalance"]["rows"]
    waits = (row["longest wait ms"] / 1000 - row["Kafka's own delay s"] for row in rows if row["what"] != "steady")
    return float(max(waits))


def _gigabytes_of_five_million(tables: Tables) -> float:
    few, many = tables["state"]["memory"]["rows"]
    bytes_a_punch = max(many[f"bytes a punch after {when}"] for when in ("processing", "recovery"))
    return float((few["RSS MB after processing"] * 1e6 + 5e6 * bytes_a_punch) / 1e9)


def _added(tables: Tables) -> float:
    own, sink = (_at("sink", "erpnext", "what", what, "ratio")(tables) for what in (_OWN_TIME, _SINK))
    return 100 * (own / sink - 1)


def _profile(table: str, run: str, *names: str) -> Callable[[Tables], float]:
    """The CPU µs an event of these parts of the profile together."""
    return lambda tables: sum(_at("profile", table, "CPU µs/event", name, run)(tables) for name in names)


_MOVING: Final = ("record batches", "aiokafka: sending", "aiokafka: fetching", "Faust")
_WRITING: Final = ("writing the outcome", "record batches", "aiokafka: sending")


def _beside(peer: str, divisor: float) -> Callable[[Tables], str]:
    def tell(tables: Tables) -> str:
        plain, theirs = (_cpu("compare", what)(tables) for what in ("plain", peer))
        whole, moving = (_profile("stream", "half repeats", *names)(tables) for names in (("in all",), _MOVING))
        return (
            f"it would be {theirs / divisor:.1f} µs, and the plain loop, which remembers nothing and writes nothing"
            f" for a repeat, takes {plain:.1f} µs. Fetching and sending alone are {moving:.1f} µs of {whole:.1f} by the"
            " profile; the rest is Python that reads, decides and writes one record after the other, no part of it a"
            " hot spot."
        )

    return tell


def _plain_workers(count: int) -> Callable[[Tables], str]:
    def tell(tables: Tables) -> str:
        ratio = _at("stream", "plain_workers", "workers", count, "ratio")(tables)
        return (
            f"{count} plain loops, which share nothing, take {ratio:.2f} times as much as one here: the cores and"
            " Kafka's broker share caches."
        )

    return tell


def _only_repeats(tables: Tables) -> str:
    plain = _cpu("repeats", "plain")(tables)
    writing, deciding = (
        _profile("stream", "nothing but repeats", *names)(tables) for names in (_WRITING, ("deciding",))
    )
    return (
        f"the plain loop takes {plain:.1f} µs, keeps nothing and writes nothing. Punchstream writes for each repeat"
        f" which punch was kept, or no audit could tell a repeat from a loss: {writing:.1f} µs by the profile; and it"
        f" decides by time, for a second tap is a repeat too: {deciding:.1f} µs."
    )


def _beside_starlette(tables: Tables) -> str:
    ours, bare = (_at("push", "single", "what", what, "CPU µs/event")(tables) for what in ("punchstream", _BARE))
    shared = _profile(
        "push",
        "one a request",
        "HTTP: uvicorn, httptools",
        "aiokafka: the record into its batch",
        "aiokafka: sending",
        "the event loop, the interpreter's own",
    )(tables)
    return (
        f"{ours:.0f} µs beside {bare:.0f}. By the profile {shared:.0f} µs are uvicorn's, aiokafka's and the event"
        " loop's, which both have; the rest is what bare Starlette leaves out: the token, the limits of a body, the raw"
        " event with its headers, the limit of what is in flight, a time limit for Kafka's answer, the counts."
    )


def at_most(limit: float) -> Callable[[float], bool]:
    """Whether a figure is no larger."""
    return lambda figure: figure <= limit


def at_least(limit: float) -> Callable[[float], bool]:
    """Whether a figure is no smaller."""
    return lambda figure: figure >= limit


_OURS: Final = _cpu("compare", "punchstream")


def _new_fleet(tables: Tables) -> float:
    for row in tables["fleet"]["apply"]["rows"]:
        if (row["file"], row["fleet"]) == ("CSV", "new"):
            return middle(row["s"])
    raise LookupError("fleet, apply: no new fleet")


def _longest_change(tables: Tables) -> float:
    return max(float(row["change s"]["max"]) for row in tables["fleet"]["reach"]["rows"])


TARGETS: Final = (
    Target(
        "stream, CPU beside an ordinary Faust agent",
        "≤ 1/15",
        _divided(_OURS, _cpu("compare", "faust")),
        at_most(1 / 15),
        answer=_beside("faust", 15),
    ),
    Target(
        "stream, CPU beside Quix Streams",
        "≤ 1/2.5",
        _divided(_OURS, _cpu("compare", "quix")),
        at_most(1 / 2.5),
        answer=_beside("quix", 2.5),
    ),
    Target(
        "stream, CPU beside the plain loop that keeps nothing",
        "≤ 2.5",
        _divided(_OURS, _cpu("compare", "plain")),
        at_most(2.5),
    ),
    Target(
        "nothing but repeats, CPU beside a plain loop",
        "≤ 1.5",
        _divided(_cpu("repeats", "punchstream"), _cpu("repeats", "plain")),
        at_most(1.5),
        answer=_only_repeats,
    ),
    *(
        Target(
            f"{count} workers, total CPU beside one",
            "≤ 1.1",
            _at("stream", "workers", "workers", count, "ratio"),
            at_most(1.1),
            answer=_plain_workers(count),
        )
        for count in (2, 4)
    ),
    *(
        Target(
            f"2,000 pulled {devices} at 60 s, 5 % dead: 99 % of the intervals",
            "≤ 61 s",
            _at("pull", "fleet", "what", what, "interval p99 s"),
            at_most(61),
            "{:.1f} s",
        )
        for devices, what in (("devices", "REST"), ("HeyStar terminals", "HeyStar"))
    ),
    Target("a rebalance, beyond Kafka's own delay", "≤ 5 s", _beyond_kafka, at_most(5), "{:.1f} s"),
    Target(
        "memory for each remembered punch, after processing",
        "≤ 64 bytes",
        _last("state", "memory", "bytes a punch after processing"),
        at_most(64),
        "{:.0f} bytes",
    ),
    Target(
        "memory for each remembered punch, after recovery",
        "≤ 64 bytes",
        _last("state", "memory", "bytes a punch after recovery"),
        at_most(64),
        "{:.0f} bytes",
    ),
    Target("5 million remembered, by these figures", "≤ 1 GB", _gigabytes_of_five_million, at_most(1), "{:.2f} GB"),
    Target(
        "recovery, remembered punches",
        "≥ 300,000/s",
        _last("state", "memory", "recovered punches/s"),
        at_least(300_000),
        "{:,.0f}/s",
    ),
    Target(
        "push, single events, beside bare Starlette",
        "≥ 0.7",
        _at("push", "single", "what", "punchstream", "ratio"),
        at_least(0.7),
        answer=_beside_starlette,
    ),
    Target(
        "push, batches of 500, on one core",
        "≥ 25,000 events/s",
        _at("push", "batches", "what", "punchstream", "events/s of one core"),
        at_least(25_000),
        "{:,.0f} events/s",
    ),
    Target(
        "push of HeyStar records, CPU beside JSON events",
        "≤ 1.15",
        _at("push", "heystar", "what", "punchstream, HeyStar", "ratio"),
        at_most(1.15),
    ),
    Target("sink, beside one by one", "≥ 3", _at("sink", "erpnext", "what", _SINK, "ratio"), at_least(3)),
    Target("sink, added to ERPNext's own time", "≤ 10 %", _added, at_most(10), "{:.1f} %"),
    Target(
        "request to row, half of the punches",
        "≤ 150 ms",
        _last("latency", "request_to_row", "p50 ms"),
        at_most(150),
        "{:.0f} ms",
    ),
    Target(
        "request to row, 99 of 100 punches",
        "≤ 1 s",
        _last("latency", "request_to_row", "p99 ms"),
        at_most(1000),
        "{:.0f} ms",
    ),
    Target(
        "5,000 new devices of a table to the fleet topic",
        "≤ 5 s",
        _new_fleet,
        at_most(5),
        "{:.1f} s",
    ),
    Target(
        "a change of a fleet of 5,000 to each stage, the longest",
        "≤ 2 s",
        _longest_change,
        at_most(2),
        "{:.1f} s",
    ),
    Target(
        "growing memory, most CPU for an event beside a young process",
        "≤ 1.1",
        _most("stream", "growth", "ratio"),
        at_most(1.1),
    ),
    Target(
        "growing fleet, most CPU for an event beside 10 devices",
        "≤ 1.1",
        _most("stream", "devices", "ratio"),
        at_most(1.1),
    ),
)
