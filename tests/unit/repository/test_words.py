"""The words that docs/glossary.md replaced are gone from code, tests and documents.

Of code only names are looked at, so that an English sentence may say "as it was told" or "a house in order". The
sentences and the class names of before are searched for as text, in documents too. The decisions (docs/adr) are in:
whoever reads one looks its words up in today's code. The changelog and the glossary are out: they say what was called
how.
"""

import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRODUCT = ("attendance", "producers", "streams", "sinks", "operations", "ledger", "console", "punchstream", "zkreader")
EVERYWHERE = (*PRODUCT, "sandbox", "bench", "tests")
HISTORY = {"CHANGELOG.md", "docs/glossary.md", "tests/unit/repository/test_words.py"}

# A name, without the underscores before it: what to say instead, and where.
NAMES = {
    "accuse": ("suspect", EVERYWHERE),
    "acquit": ("clear", EVERYWHERE),
    "blame": ("poison detector", EVERYWHERE),
    "gate": ("circuit breaker", ("sinks",)),
    "gathered": ("batch buffer", EVERYWHERE),
    "heard": ("report", EVERYWHERE),
    "held": ("what it is: waiting, stored, found", PRODUCT),
    "house": ("pull context", EVERYWHERE),
    "is_mark": ("is_superseded", EVERYWHERE),
    "is_open": ("state", ("sinks",)),
    "is_replay": ("is_replay_copy", EVERYWHERE),
    "is_sent_again": ("is_dead_letter_replay", EVERYWHERE),
    "judge": ("classify, assign, verdict", EVERYWHERE),
    "judgement": ("classification", EVERYWHERE),
    "knows": ("employee_exists", EVERYWHERE),
    "lane": ("employee queue, slot", EVERYWHERE),
    "lanes": ("employee queues, slots", EVERYWHERE),
    "mark": ("what it does: superseded, stamp, skew, late", PRODUCT),
    "marks": ("stamps", PRODUCT),
    "memory": ("deduplication state", ("streams",)),
    "PATIENCE": ("seconds, age", EVERYWHERE),
    "Memory": ("DeduplicationState", ("streams",)),
    "Position": ("Checkpoint", ("streams",)),
    "Held": ("WaitingPunch", ("streams",)),
    "patience": ("timings, time limit", EVERYWHERE),
    "position": ("checkpoint", ("streams",)),
    "prove": ("verify", PRODUCT),
    "proves": ("verify", PRODUCT),
    "replayed": ("historical, is_replay_copy, is_dead_letter_replay", PRODUCT),
    "settle": ("publish_outcomes, finish", EVERYWHERE),
    "step": ("run_once: a step is the stream's", ("attendance", "producers", "sinks", "operations", "punchstream")),
    "stranger": ("pending device", ("attendance", "producers", "operations", "punchstream")),
    "strangers": ("pending devices", ("attendance", "producers", "operations", "punchstream")),
    "told": ("response, status", EVERYWHERE),
}

MEASURED = r"\b[Mm]emory's log\b|\bmemory and its log\b"

# Text of code, tests and documents: what to say instead.
TEXTS = {
    r"\bclass Gate\b|\bGate\(|\bimport Gate\b": "CircuitBreaker",
    r"\bTargetRejected\b": "DocumentRejected",
    r"\bTargetRefused\b": "AccessDenied",
    r"\bTargetFault\b": "ServerError",
    r"\bTargetChanged\b": "Conflict",
    r"\bTargetForbidden\b": "PermissionDenied",
    r"\bLanes\b": "EmployeeQueues, slots",
    r"\bHouse\b": "PullContext",
    r"\bGathered\b": "BatchBuffer",
    r"\bPatience\b": "SinkTimings",
    r"\bHeard\b": "DeviceReport",
    r"\bclass (Entry|Blame|Stranger|Judgement)\b": "one word, one thing: see the glossary",
    MEASURED: "changelog",
    r"\b(is|are) waited for\b": "Waiting for",
    r"[Tt]he target serves": "Target recovered.",
    r"ERPNext is open\b": "Connected to ERPNext.",
    r"Requests are given up": "Abandoning in-flight requests; their records will be redelivered.",
    r"what they were about": "their records",
    r"last good user map stays": "Refused to remove …; keeping the previous one.",
    r"What is kept, or written by the thousand": "Encode Kafka records with msgspec",
    r"\bits? records? comes? again\b|\bthe records come again\b": "redelivered",
    r"\bregistry file\b": "fleet file",
}

# A file and a name or text that it may have: why.
EXCEPTIONS = {
    ("streams/transport.py", "position"): "Faust's name for it",
    ("attendance/records/raw_event.py", "replayed"): "a field of the record",
    ("producers/devices/common/punch.py", "replayed"): "a field of the record",
    ("docs/performance.md", MEASURED): "what a run of the benchmarks measured, as it was called then",
}


def files(*folders: str, suffix: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob(f"*{suffix}"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def names_of(path: Path) -> dict[str, list[int]]:
    """In which lines of a module each name is."""
    found = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(text_of(path)).readline):
        if token.type == tokenize.NAME:
            found[token.string.lstrip("_")].append(token.start[0])
    return found


@cache
def text_of(path: Path) -> str:
    return path.read_text()


def may_have(path: Path, what: str) -> bool:
    return name(path) in HISTORY or (name(path), what) in EXCEPTIONS


def uses(word: str) -> list[str]:
    """Where the code has a name."""
    _, folders = NAMES[word]
    return [
        f"{name(path)}:{line}"
        for path in files(*folders, suffix=".py")
        # To find the names of a module takes much longer than to see that the word is nowhere in it.
        if re.search(rf"\b_*{word}\b", text_of(path)) and not may_have(path, word)
        for line in names_of(path).get(word, ())
    ]


def mentions(text: str) -> list[str]:
    """Where code, tests and documents have a text."""
    documents = [*sorted(ROOT.glob("*.md")), *files("docs", "deploy", suffix=".md")]
    return [
        f"{name(path)}:{number}"
        for path in [*files(*EVERYWHERE, suffix=".py"), *documents]
        if re.search(text, text_of(path)) and not may_have(path, text)
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if re.search(text, line)
    ]


@pytest.mark.parametrize("word", NAMES)
def test_no_name_in_the_code_is_one_that_the_glossary_replaced(word: str) -> None:
    assert not uses(word), f"say {NAMES[word][0]}"


@pytest.mark.parametrize("text", TEXTS)
def test_no_file_has_a_sentence_or_a_class_that_the_glossary_replaced(text: str) -> None:
    assert not mentions(text), f"say {TEXTS[text]}"


def test_every_exception_is_needed() -> None:
    for path, what in EXCEPTIONS:
        assert re.search(what, (ROOT / path).read_text()), f"{path} has no {what} any more"
