"""`python -m bench.report`: the performance page, from the result files, to standard output."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import orjson

from bench.results import RESULTS, ROOT, Row
from bench.targets import TARGETS, Tables

INTRODUCTION: Final = """# Performance

`make bench` runs everything (`make kafka` first); `make bench PART=push BENCH="--repetitions 1"` runs one part with
other options. This page and its plots are made by `make performance` from `bench/results/`; do not edit it.

- Apache Kafka, one node, runs on the same machine. Everything in one table ran in one run, in turns.
- CPU time is user and system time of all processes of what is measured, without that of Kafka and of the benchmark, and
  without the start: a process is started, warmed, paused while its topic is filled, and measured from then on until its
  offsets are committed. It depends far less on what else the machine does than events a second do.
- Figures of several repetitions are the median, with the least and the largest in brackets.
- A load average above the number of cores means that the machine did other things at the same time: events a second and
  milliseconds then say little, and CPU time is higher than alone.
"""

SECTIONS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "stream": (
        "Stream",
        {
            "compare": "Half of the events are repeats, 1,000 users are mapped, 100 devices, 4 partitions, one process"
            " each. Events are those that push writes, with headers. *Ratio* is the CPU time beside Punchstream's."
            " Punchstream also records each repeat, and knows a second tap within a minute as well; the peers"
            " drop repeats by `event_id` and leave no trace. The plain loop forgets everything when it ends. Faust, the"
            " slowest, gets a fifth of the events.",
            "repeats": "Nothing but repeats: a terminal sends its whole memory again. The plain loop decodes and drops;"
            " Punchstream writes to `dropped` which punch was kept.",
            "workers": "Several processes on 4 partitions; CPU time and memory are those of all.",
            "plain_workers": "The same of the plain loop: what processes that share nothing cost one another here.",
            "partitions": "One process on more partitions.",
            "devices": "Fleets of different sizes, 1,000 users.",
            "growth": "One process that goes on. On its way it takes turns with a *young* one, which has seen as few"
            " events as the first line says, and as many more as the turns have; *ratio* is the CPU time beside it. The"
            " lists of the 1,000 users are full after 720,000 events: 360 punches in the 90 days of the horizon.",
            "rebalance": "A flow of 200 punches a second while a second worker comes and goes; the longest that a punch"
            " waited for its check-in. *Kafka's own delay*: the session timeout after which a killed worker is missed.",
        },
    ),
    "push": (
        "Push",
        {
            "single": "One event a request on 32 connections, `acks=all`. Bare Starlette reads the body and awaits the"
            " same produce; it checks no token and makes no raw event. *Ratio* is the throughput for each second"
            " of CPU beside that of bare Starlette.",
            "batches": "500 events a request, on 8 connections.",
            "heystar": "One record a request as HeyStar terminals post them, text values and no photograph, beside one"
            " event a request of the JSON contract, on 32 connections. *Ratio* is the CPU time beside JSON's in the"
            " same turn.",
            "adms": "500 lines a request as ZKTeco terminals send them, on 8 connections; each is answered after one"
            " round trip to Kafka.",
        },
    ),
    "pull": (
        "Pull",
        {
            "fleet": "One process for each fleet: devices with a REST interface, which are asked once; and HeyStar"
            " terminals, which are asked who they are, for a page, and for the next where that has a record. Each"
            " answers in 50 ms, one page in ten with a new punch. Of the dead, half refuse connections and half take"
            " them and say nothing. *Interval* is that between two questions to a live device; the load and Kafka run"
            " on the same machine.",
        },
    ),
    "sink": (
        "Sink",
        {
            "erpnext": "Against the stand-in with the times of a real ERPNext (`bench/site.py`): 37 ms for a request on"
            " one of two cores, 14 ms for a document under a lock that all share. *Ratio* is the throughput beside one"
            " by one. ERPNext's own time is that of prepared batches from memory, with 4 threads.",
            "no_latency": "Against the stand-in as fast as it can: what the sink itself takes.",
        },
    ),
    "latency": (
        "From the request to the row",
        {
            "request_to_row": "Every stage, Kafka, the load and the stand-in (20 ms a request) on this machine.",
        },
    ),
    "fleet": (
        "The fleet on its topic",
        {
            "apply": "`punchstream fleet apply`, from the start of the command to its end: it reads files and topic,"
            " writes what is different, and reads the topic again to see that it counts. *New*: the topic is empty;"
            " *unchanged*: it has all of it; *all changed*: one field of each device is another.",
            "apply_embedded": "The same on the embedded broker, which gets each record as a request of its own: it"
            " takes the first offset of a batch for the last.",
            "reach": "Four stages without a fleet file, on Apache Kafka. *Whole after its start*: from the start of all"
            " four processes until one has the whole fleet and may work. *Change*: from the moment at which a writer"
            " sends one entry until a stage goes by it; a stage looks once a second.",
        },
    ),
    "state": (
        "State",
        {
            "memory": "100 punches of each user are remembered, each once. *First decision* is the time from the start"
            " of a process to its first check-in; from it and from that with few punches comes the rate of recovery.",
            "rocksdb": "The same with `DEDUP_STORE=rocksdb`: a restart goes on from the disk, and recovery is measured"
            " with the disk lost.",
        },
    ),
    "profile": (
        "Where the time goes",
        {
            "stream": "Samples of the stream's process, each counted for the innermost frame that belongs to one of"
            " these.",
            "push": "The same of push.",
        },
    ),
}
PLOTS: Final = {"stream": ("throughput", "growth"), "latency": ("latency",)}


def cell(value: Any) -> str:  # noqa: ANN401 - JSON
    """A value of a row, for people."""
    if isinstance(value, dict):
        if value["repetitions"] == 1:
            return cell(value["median"])
        return f"{cell(value['median'])} ({cell(value['min'])} to {cell(value['max'])})"
    if isinstance(value, float):
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(rows: list[Row]) -> Iterator[str]:
    """Rows as a table, with the columns of all of them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    numbers = {column for column in columns if not any(isinstance(row.get(column), str) for row in rows)}
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('--:' if column in numbers else '---' for column in columns)}|"
    for row in rows:
        yield f"| {' | '.join(cell(row.get(column, '')) for column in columns)} |"


def targets(tables: Tables) -> Iterator[str]:
    """The table of targets."""
    yield "| what | target | measured | |"
    yield "|---|---|--:|---|"
    for target in TARGETS:
        try:
            figure = target.figure(tables)
        except LookupError:
            yield f"| {target.what} | {target.wanted} | | not measured |"
            continue
        verdict = "met" if target.met(figure) else "**not met**"
        yield f"| {target.what} | {target.wanted} | {target.form.format(figure)} | {verdict} |"


def answers(tables: Tables) -> Iterator[str]:
    """What holds back the targets that are not met."""
    for target in TARGETS:
        with suppress(LookupError):
            if target.answer is not None and not target.met(target.figure(tables)):
                yield f"- *{target.what}*: {target.answer(tables)}"


def section(part: str, saved: dict[str, Any]) -> Iterator[str]:
    """The tables of a part, each with the command that made it."""
    title, texts = SECTIONS[part]
    yield f"## {title}\n"
    for name, text in texts.items():
        if name not in saved:
            continue
        yield f"{text}\n"
        yield from table(saved[name]["rows"])
        load = f", load average {saved[name]['load']}" if "load" in saved[name] else ""
        yield f"\n`{saved[name]['command']}`, seed {saved[name]['seed']}{load}\n"
    for plot in PLOTS.get(part, ()):
        if (ROOT / "docs" / "performance" / f"{plot}.svg").exists():
            yield f"![{plot}](performance/{plot}.svg)\n"


def page(tables: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The whole page, line by line."""
    yield INTRODUCTION
    latest = max((saved for part in tables.values() for saved in part.values()), key=lambda saved: str(saved["at"]))
    machine = latest["machine"]
    yield f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}."
    yield f"Versions: {', '.join(f'{name} {number}' for name, number in latest['versions'].items())}.\n"
    yield "## Targets\n"
    yield from targets(tables)
    yield ""
    yield from answers(tables)
    yield ""
    for part in SECTIONS:
        if part in tables:
            yield from section(part, tables[part])


def main() -> None:
    """Print the page."""
    files = {part: RESULTS / f"{part}.json" for part in SECTIONS}
    tables = {part: orjson.loads(file.read_bytes()) for part, file in files.items() if file.exists()}
    print("\n".join(page(tables)).rstrip())


if __name__ == "__main__":
    main()
