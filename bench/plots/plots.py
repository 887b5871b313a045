"""`python plots.py RESULTS DIRECTORY`: the plots of the performance page. Knows nothing but the result files."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = list[dict[str, Any]]


def middle(value: Any) -> float:  # noqa: ANN401 - JSON
    """A figure, or the median of its repetitions."""
    return float(value["median"] if isinstance(value, dict) else value)


def line(axes: Axes, rows: Rows, x: str, y: str) -> None:
    axes.plot([row[x] for row in rows], [middle(row[y]) for row in rows], marker="o")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.margins(y=0.15)
    axes.grid(alpha=0.3)


def throughput(stream: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, table in zip(figure.subplots(1, 2, sharey=True), ("workers", "partitions"), strict=True):
        line(axes, stream[table]["rows"], table, "events/s")
        axes.set_xticks([row[table] for row in stream[table]["rows"]])
    axes.set_ylim(bottom=0)
    return figure


def growth(stream: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, y in zip(figure.subplots(1, 2), ("CPU µs/event", "RSS MB"), strict=True):
        line(axes, stream["growth"]["rows"], "events before", y)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
    return figure


def latency(results: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    rows = results["curve"]["rows"]
    axes.plot([row["ms"] for row in rows], [row["percent"] for row in rows])
    axes.set_xlabel("milliseconds from the request to the row")
    axes.set_ylabel("percent of the punches")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    return figure


PLOTS = {
    "throughput": ("stream", ("workers", "partitions"), throughput),
    "growth": ("stream", ("growth",), growth),
    "latency": ("latency", ("curve",), latency),
}


def main() -> None:
    results, directory = map(Path, sys.argv[1:])
    # Text as text and no random ids: small files that change only where the figures do.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "punchstream"}
    directory.mkdir(parents=True, exist_ok=True)
    for name, (part, needs, draw) in PLOTS.items():
        file = results / f"{part}.json"
        tables = json.loads(file.read_text()) if file.exists() else {}
        if set(needs) <= tables.keys():
            draw(tables).savefig(directory / f"{name}.svg", metadata={"Date": None})


main()
