"""The `topics` commands: make the topics, and show them."""

import asyncio

import typer

from attendance.settings import KafkaSettings
from punchstream.output import AsJson, show

app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)


@app.command("create")
def create() -> None:
    """Create the topics that are missing."""
    from attendance.kafka.admin import create_topics

    created = asyncio.run(create_topics(KafkaSettings.load()))
    for name, is_new in created.items():
        typer.echo(f"{name}: {'created' if is_new else 'was there'}")


@app.command("describe")
def describe(*, as_json: AsJson = False) -> None:
    """Show the topics with their partitions, retention and what they hold. Exit status 1 when one is missing."""
    from attendance.kafka.admin import describe_topics

    rows = asyncio.run(describe_topics(KafkaSettings.load()))
    show(rows, as_json=as_json)
    if any(row["partitions"] == 0 for row in rows):
        raise typer.Exit(1)
