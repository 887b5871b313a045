"""What a query of Prometheus asks for: its metrics, and their labels."""

import re
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

from attendance.metric_table import TABLE

SCRAPED: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds to every series."""
_METRIC: Final = re.compile(r"\b(punchstream_\w+|process_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED: Final = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")


def exported() -> dict[str, frozenset[str]]:
    """The series that any stage exports: their names, and the labels of each."""
    found = {"up": frozenset[str]()}
    for name, metric in TABLE.items():
        labels = frozenset(metric.labels)
        if metric.kind is Histogram:
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return found | {sample.name: frozenset() for family in registry.collect() for sample in family.samples}


def faults(query: str, series: dict[str, frozenset[str]]) -> list[str]:
    """What of a query no stage exports.

    Args:
        query: In PromQL. Its texts hold no parentheses.
        series: As `exported` gives them.

    Returns:
        One line for each metric, and for each label.
    """
    found, labels = [], set(SCRAPED)
    for name, matchers in _METRIC.findall(query):
        if name not in series:
            found.append(f"{name} is exported by no stage")
            continue
        labels |= series[name]
        found += [
            f"{name} has no label {label}"
            for label in _MATCHER.findall(matchers)
            if label not in series[name] | SCRAPED
        ]
    grouped = {label.strip() for part in _GROUPED.findall(query) for label in part.split(",")} - {""}
    found += [f"nothing in it has the label {label}" for label in sorted(grouped - labels)]
    return found if _METRIC.search(query) else ["it asks for no metric"]
