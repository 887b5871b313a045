"""The `topics` commands: make the topics, and show them."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from attendance.durations import format_seconds
from attendance.settings import KafkaSettings
from attendance.times import now
from attendance.topics import Name
from punchstream.commands.arguments import kafka_log
from punchstream.on_demand import on_demand
from punchstream.output import AsCsv, AsJson, counted, print_csv, print_json, print_whole, say

if TYPE_CHECKING:
    from attendance.topic_findings import Finding

COLUMNS: Final = ("topic", "partitions", "replicas", "records", "cleanup", "kept", "largest", "times")

app = typer.Typer(
    cls=on_demand({"accept-loss": "losses:accept_loss", "adopt": "adoption:adopt"}),
    help="The Kafka topics.",
    no_args_is_help=True,
)


@app.command("create")
def create() -> None:
    """Create the topics that are missing."""
    from attendance.kafka.admin import create_topics

    created = asyncio.run(create_topics(KafkaSettings.load()))
    for name, is_new in created.items():
        say(f"{name}: {'created' if is_new else 'was there'}")


@app.command("describe")
def describe(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show each topic as the broker has it, beside what it has to be.

    Exit status 1 if one is missing, would lose records, or may not be looked at.
    """
    from attendance.kafka.admin import describe_topics

    rows = asyncio.run(describe_topics(KafkaSettings.load()))
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(COLUMNS, map(_cells, rows))
    else:
        print_whole(COLUMNS, map(_cells, rows))
    wrong = [finding for row in rows for finding in row["findings"]]
    if not as_json:
        for finding in wrong:
            say(f"{finding['severity']}: {finding['says']}", err=True)
    if any(finding["severity"] != "warns" for finding in wrong) or any(row["partitions"] == 0 for row in rows):
        raise typer.Exit(1)


@app.command("repair")
def repair(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be set, and set nothing.")] = False
) -> None:
    """Set what may be set on topics of a running system: retention, cleanup, message size, time stamps.

    The number of partitions and replicas it leaves, and says what to do. It does not shorten how long dead letters are
    kept while there are some beyond that with which nobody has dealt. Exit status 1 if what is left would lose records.
    """
    from attendance.kafka.topic_repair import repair_topics

    settings = KafkaSettings.load()
    planned = asyncio.run(repair_topics(settings, dry_run=True))
    spare = _letters_to_spare(settings, planned.mended)
    result = asyncio.run(repair_topics(settings, dry_run=dry_run, spare=spare))
    for each in result.mended:
        verb = "would be" if dry_run else "is"
        say(f"{each.topic}: {each.what} was {each.found}, {verb} {each.wanted}")
    for each in result.left:
        say(f"{each.severity}: {each}", err=True)
    if not result.mended and not result.left:
        say("Every topic is what it has to be.")
    if any(each.severity != "warns" for each in result.left):
        raise typer.Exit(1)


def _letters_to_spare(settings: KafkaSettings, planned: "Sequence[Finding]") -> list[tuple[Name, str]]:
    """What is left as it is, because open dead letters would be deleted at once. Says so."""
    topic = settings.topics["dead_letters"]
    shorter = [each for each in planned if (each.topic, each.what) == (topic, "retention.ms") and each.set_to]
    if not shorter:
        return []
    from operations.dead_letters import count_open_before

    kept = timedelta(milliseconds=int(shorter[0].set_to or 0))
    count = asyncio.run(count_open_before(kafka_log("topics"), now() - kept))
    if not count:
        return []
    say(
        f"{topic}: {counted(count, 'dead letter', 'dead letters')} with which nobody has dealt would be deleted at "
        "once, so retention.ms stays as it is: see `punchstream dead-letters list`, or set DEAD_LETTER_DAYS.",
        err=True,
    )
    return [("dead_letters", "retention.ms"), ("dead_letter_actions", "retention.ms")]


def _cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table: what the broker says, and what is wanted where that is something else."""
    configs, wanted = row["configs"], row["wanted"]
    differs = {finding["what"]: finding for finding in row["findings"]}

    def cell(what: str, found: object) -> str:
        return f"{found} (wanted {differs[what]['wanted']})" if what in differs else f"{found}"

    cells = [row["topic"], cell("partitions", row["partitions"]), cell("replicas", row["replicas"]), row["records"]]
    if configs is None:
        return [*cells, *["not known"] * (len(COLUMNS) - len(cells))]
    kept = "for ever" if configs["retention.ms"] == "-1" else format_seconds(int(configs["retention.ms"]) / 1000)
    if wanted["cleanup.policy"] == "compact" == configs["cleanup.policy"]:
        kept = "for ever"  # whatever its retention is
    return [
        *cells,
        cell("cleanup.policy", configs["cleanup.policy"]),
        cell("retention.ms", kept),
        cell("max.message.bytes", configs["max.message.bytes"]),
        cell("message.timestamp.type", configs["message.timestamp.type"]),
    ]
