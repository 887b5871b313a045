"""The documents against the code: what they name exists, and what has to be in them is there."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from setting_names import SETTINGS

from attendance import fleet_file, metrics, topics
from attendance.errors import Reason
from attendance.fleet import Device
from attendance.times import now
from producers.devices import create_push_adapter
from producers.devices.contract import STATUS, Head, PushRequest
from producers.directory.csv_files import read_csv
from punchstream import reference
from punchstream.cli import app
from sinks.attendance.policy import MARKER

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
INSTALLING = ROOT / "docs" / "installing.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
COMMANDS_PAGE = ROOT / "docs" / "commands.md"
FLEET = ROOT / "docs" / "fleet.md"
HTTP = ROOT / "docs" / "http.md"
OPERATING = ROOT / "docs" / "operating.md"
OPERATIONS = ROOT / "docs" / "operations.md"
USER_MAP = ROOT / "docs" / "user-map.md"
DECISIONS = ROOT / "docs" / "adr"
CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(each for top in ("docs", "deploy", "examples") for each in ROOT.glob(f"{top}/**/*.md"))]
)

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMAND = re.compile(r"\bpunchstream((?: +(?:--)?[a-z][a-z-]*)+)")
METRIC = re.compile(r"\bpunchstream_[a-z_]+")

# What a setting's name begins with, in any group.
SETTING = re.compile(
    r"\b(?:KAFKA|PUNCH|PUSH|PULL|ERPNEXT|DIRECTORY|SINK|COMPLETENESS|METRICS|LOG|DEDUP|STREAM|FUTURE)_[A-Z_]+\b\*?"
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def section(page: Path, heading: str) -> str:
    """What stands under a heading, without the sections after it."""
    _, _, rest = page.read_text().partition(f"\n## {heading}\n")
    assert rest, f"{page} has no section {heading}"
    return rest.partition("\n## ")[0]


def fences(text: str, language: str) -> list[str]:
    return [content for tag, content in FENCE.findall(text) if tag == language]


def code(text: str) -> Iterator[str]:
    """The code of a page: the lines of its fenced blocks, and its spans."""
    for _, content in FENCE.findall(text):
        yield from content.splitlines()
    # A span may be broken over two lines.
    yield from (" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text)))


def rows(text: str) -> list[list[str]]:
    """The rows of every table in a text, without the heads, as cells without the marks of code."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|-")}
    return [row for number, row in enumerate(cells) if number not in heads and number - 1 not in heads]


def commands() -> dict[str, set[str]]:
    """Every command, and every group of commands, with its options."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, name: str) -> None:
        found[name] = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for inner, subcommand in getattr(command, "commands", {}).items():
            walk(subcommand, f"{name} {inner}".strip())

    walk(typer.main.get_command(app), "")
    return found


COMMANDS = commands()
OPTIONS = COMMANDS.pop("")


def is_command(words: list[str]) -> bool:
    """Whether a line begins with a command; what follows a command that is no group are its arguments."""
    name = " ".join(words[:2])
    if name in COMMANDS:
        return True
    is_group = any(other.startswith(f"{words[0]} ") for other in COMMANDS)
    return words[0] in COMMANDS and (len(words) == 1 or not is_group)


def of_longest_name(words: list[str]) -> set[str]:
    """The options of the command with which a line begins."""
    return next(COMMANDS[name] for length in (3, 2, 1) if (name := " ".join(words[:length])) in COMMANDS)


def named_commands(text: str) -> Iterator[tuple[list[str], set[str]]]:
    """The commands that the code of a page calls: their words, and their options."""
    for line in code(text):
        for match in COMMAND.finditer(line):
            words = match[1].split()
            yield (
                [word for word in words if not word.startswith("-")],
                {word for word in words if word.startswith("--")},
            )


@each_page
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    text = page.read_text()
    if page == README:
        text = text.replace(section(README, "Not there yet"), "")
    for words, options in named_commands(text):
        assert not words or is_command(words), f"punchstream {' '.join(words)}"
        known = of_longest_name(words) if words else OPTIONS
        assert options <= known, f"punchstream {' '.join(words)} {options - known}"


def test_what_is_said_not_to_be_there_yet_is_not_there() -> None:
    missing = [words for words, _ in named_commands(section(README, "Not there yet"))]
    assert missing
    assert not [words for words in missing if is_command(words)]


def test_the_readme_is_short_enough_to_be_read() -> None:
    content = README.read_bytes()
    assert content.count(b"\n") <= 250
    assert len(content) <= 16 * 1024


@pytest.mark.parametrize("page", [COMMANDS_PAGE, ROOT / "docs" / "metrics.md"], ids=lambda page: page.stem)
def test_a_generated_page_is_that_of_the_code(page: Path) -> None:
    made = {"commands": reference.commands, "metrics": reference.metrics}[page.stem]()
    assert page.read_text() == made, "run make docs"


def test_every_command_says_what_it_does_and_what_each_option_means() -> None:
    texts = [row[-1] for row in rows(COMMANDS_PAGE.read_text())]
    assert len(texts) > len(COMMANDS)
    assert not [text for text in texts if text in {"", "None"}]


@each_page
def test_every_relative_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = HEADING.findall(target.read_text())
            assert anchor in {heading.lower().replace(" ", "-").replace("`", "") for heading in headings}, link


@each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    for name in SETTING.findall(page.read_text()):
        beginning = name.removesuffix("*")
        assert any(each == name or (name != beginning and each.startswith(beginning)) for each in SETTINGS), name


@each_page
def test_every_metric_that_is_named_exists(page: Path) -> None:
    assert set(METRIC.findall(page.read_text())) <= {*metrics.TABLE, MARKER}  # a field of ERPNext's Attendance


def test_every_metric_says_which_stages_serve_it_or_is_in_the_file_of_the_audit() -> None:
    served_by_none = {name for name, metric in metrics.TABLE.items() if not metric.stages}
    assert served_by_none == {"punchstream_audit_balanced", "punchstream_audit_timestamp_seconds"}
    assert {stage for metric in metrics.TABLE.values() for stage in metric.stages} <= set(COMMANDS)


def test_every_error_of_the_http_contract_is_there_with_its_status() -> None:
    answers = [row for row in rows(section(HTTP, "Punches")) if row[0].isdigit()]
    assert {(int(status), error) for status, error, _ in answers if error} == {
        (int(status), str(reason)) for reason, status in STATUS.items()
    }


def test_every_reason_is_explained_once() -> None:
    explained = [reason for row in rows(section(OPERATING, "Reasons")) for reason in row[0].split(", ")]
    assert sorted(explained) == sorted(Reason)


def test_the_fleet_that_is_shown_can_be_read_and_has_every_field(fleet: dict[str, Device]) -> None:
    (device,) = fleet.values()
    # A pause is no field of an entry.
    assert device.model_fields_set == set(Device.model_fields) - {"paused"}


def test_the_request_that_is_shown_is_taken_in(fleet: dict[str, Device]) -> None:
    (body,) = fences(section(HTTP, "Punches"), "json")
    parsed = create_push_adapter("json", ()).parse(
        PushRequest(Head("POST", "/v1/events", {}, {}, {}), body.encode(), now()), fleet
    )
    assert not parsed.rejected
    assert all(event.event_time for event in parsed.events)


def test_the_user_map_that_is_shown_can_be_read(tmp_path: Path) -> None:
    (content,) = fences(section(USER_MAP, "Where mappings come from"), "csv")
    path = tmp_path / "map.csv"
    path.write_text(content)
    assert [mapping.scope for mapping in read_csv(path)] == ["*", "site:riyadh", "device:riyadh-01"]


@each_page
def test_every_log_sentence_that_a_page_shows_is_in_the_code(page: Path) -> None:
    shown = {span for span in SPAN.findall(page.read_text()) if re.fullmatch(r"[A-Z][^`]*[^.]\.", span)}
    if page.name == "CHANGELOG.md":  # it shows what was
        shown = set()
    assert not {sentence for sentence in shown if sentence not in log_sentences()}


@cache
def log_sentences() -> str:
    """The product's code, with literals that are written in several parts as one."""
    folders = ("attendance", "producers", "streams", "sinks", "operations", "ledger", "console", "punchstream")
    modules = [path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in modules))


def test_the_operators_page_shows_log_sentences() -> None:
    assert {row[1] for row in rows(section(OPERATIONS, "Lines of the log")) if row[1].endswith(".")}


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / ".ci" / "run", ROOT / ".github" / "workflows" / "ci.yml"], ids=lambda page: page.name
)
def test_every_target_of_make_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = code(page.read_text()) if page.suffix == ".md" else page.read_text().splitlines()
    named = {target for line in lines for target in re.findall(r"(?:^|[:&(] ?)make ([a-z]+)", line.strip())}
    assert targets
    assert named <= targets


def test_every_file_that_the_architecture_names_exists() -> None:
    named = {span for span in code(ARCHITECTURE.read_text()) if re.fullmatch(r"[\w./-]+(?:\.[a-z]+|/)", span)}
    paths = {name for name in named if "/" in name or name.endswith((".md", ".toml"))}
    assert paths
    assert not {path for path in paths if not (ROOT / path).exists()}


def test_the_architecture_has_every_topic_as_it_is_created() -> None:
    days = {"KAFKA_RETENTION_DAYS": 400, "UNREAD_DAYS": 30, "DEAD_LETTER_DAYS": 500}
    kept = {topics.FOREVER: "for ever", topics.HOUR_MS: "1 hour"}
    kept |= {number * topics.DAY_MS: setting for setting, number in days.items()}
    assert [row[:5] for row in rows(section(ARCHITECTURE, "Topics"))] == [
        [
            topics.Topics("attendance")[name],
            topic.key,
            topic.holds,
            topic.cleanup,
            kept[int(topics.topic_configs(topic, 400, 30, dead_letter_days=500)["retention.ms"])],
        ]
        for name, topic in topics.TABLE.items()
    ]


def access(stage: str) -> dict[str, set[str]]:
    """The topics that a stage may read and write by the table of access rules."""
    (row,) = (row for row in rows(section(INSTALLING, "Access rules in Kafka")) if row[0] == f"punchstream {stage}")
    return {what: {*cell.split(", ")} - {"none"} for what, cell in zip(("read", "written"), row[1:3], strict=True)}


@pytest.mark.parametrize("stage", ["push", "pull", "directory", "stream", "sink", "completeness", "ledger", "console"])
def test_the_access_rules_allow_a_stage_what_the_architecture_says_of_it(stage: str) -> None:
    of_topics = rows(section(ARCHITECTURE, "Topics"))
    assert access(stage) == {
        what: {row[0].removeprefix("attendance.") for row in of_topics if stage in row[column].split(", ")}
        for what, column in (("written", 5), ("read", 6))
    }


@pytest.mark.parametrize("stage", topics.USED_BY)
def test_a_stage_compares_the_topics_that_the_access_rules_allow_it(stage: topics.Stage) -> None:
    used = {topics.TABLE[name].suffix for name in topics.USED_BY[stage]}
    assert used == access(stage)["read"] | access(stage)["written"]


@pytest.mark.parametrize(
    ("stage", "folders"),
    {
        "stream": ["streams"],
        "sink": ["sinks/delivery"],
        "completeness": ["sinks/completeness", "sinks/attendance"],
    }.items(),
)
def test_the_access_rules_allow_a_stage_the_topics_that_its_code_names(stage: str, folders: list[str]) -> None:
    text = "".join(path.read_text() for folder in folders for path in (ROOT / folder).glob("*.py"))
    named = {topics.TABLE[name].suffix for name in topics.TABLE if f'topics["{name}"]' in text}
    if "SiteTopic(" in text:
        named.add(topics.TABLE["site"].suffix)
    if "AccountsTopic(" in text:
        named.add(topics.TABLE["accounts"].suffix)
    if "FleetTopic(" in text:
        named.add(topics.TABLE["fleet"].suffix)
    if "stage_guards(" in text:
        named.add(topics.TABLE["probe"].suffix)  # the guard of the clock writes there
    assert named == access(stage)["read"] | access(stage)["written"]


@pytest.mark.parametrize(
    ("stage", "folder"), {"pull": "producers/pull", "stream": "streams", "sink": "sinks/delivery"}.items()
)
def test_the_access_rules_allow_a_stage_its_consumer_groups(stage: str, folder: str) -> None:
    text = "".join(path.read_text() for path in (ROOT / folder).glob("*.py"))
    names = {
        f"attendance.{stage if name == 'STAGE' else name[1:-1]}"
        for name in re.findall(r'\.group\((STAGE|"\w+")\)', text)
    }
    (row,) = (row for row in rows(section(INSTALLING, "Access rules in Kafka")) if row[0] == f"punchstream {stage}")
    assert {*row[3].removeprefix("Read: ").split(", ")} == names


def test_the_index_of_decisions_has_each_with_its_title() -> None:
    titles = [
        f"- [{HEADING.findall(page.read_text())[0]}]({page.name})" for page in sorted(DECISIONS.glob("[0-9]*.md"))
    ]
    assert titles
    lines = (DECISIONS / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("- [")] == titles


def test_the_index_of_decisions_leaves_no_number_out() -> None:
    numbers = re.findall(r"^- \[?(\d{4}): ", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))


def test_the_changelog_dates_every_version_but_the_next() -> None:
    first, *versions = re.findall(r"^## (.+)$", CHANGELOG.read_text(), re.MULTILINE)
    assert first == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version) for version in versions)


@pytest.fixture
def fleet(tmp_path: Path) -> dict[str, Device]:
    """The fleet file that the page of the fleet shows."""
    (content,) = fences(FLEET.read_text(), "yaml")
    path = tmp_path / "devices.yaml"
    path.write_text(content)
    return fleet_file.load(path)
