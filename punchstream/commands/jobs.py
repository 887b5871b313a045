"""The `jobs` commands: work on many dead letters that is stored first, runs anywhere, and survives its process."""

import asyncio
from typing import Annotated, Final

import typer

from attendance.records.job import LettersKind
from attendance.settings import ErpnextSettings
from attendance.times import format_seconds
from operations.dead_letter_actions import REPLAYS_PER_SECOND
from operations.dead_letters import Selection
from operations.jobs import Job, cancel, new_job, plan_job, read_jobs, store
from operations.log import Skipped
from operations.plan_jobs import PlanSource
from operations.reading_again import Fleet
from punchstream.commands.arguments import kafka_log, known_fleet, stop_where_nothing_is, who
from punchstream.commands.dead_letters import Ids, wanted_letters
from punchstream.commands.letter_list import OfDevice, OfReason, OfStage
from punchstream.commands.settings import is_set
from punchstream.output import AsCsv, AsJson, counted, print_records, say, say_skipped

WATCH_SECONDS: Final = 5.0
_ROW: Final = ("job", "does", "state", "total", "done", "refused", "failed", "asked_at", "by", "note", "problems")

app = typer.Typer(help="Replays and discards of many dead letters, stored as jobs.", no_args_is_help=True)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count, and store nothing.")]


@app.command("replay")
def ask_replay(
    ids: Ids = None,
    *,
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    everything: Annotated[bool, typer.Option("--all", help="All that nothing was done about yet.")] = False,
    note: Annotated[str | None, typer.Option(help="Why. It is kept.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Store a job that replays dead letters, as `punchstream dead-letters replay` would. Says how many there are."""
    wanted = wanted_letters(ids, reason, stage, device, everything=everything)
    _ask("replay_letters", wanted, note, dry_run=dry_run)


@app.command("discard")
def ask_discard(
    ids: Ids = None,
    *,
    note: Annotated[str, typer.Option(help="Why nothing is to be done. It is kept.")],
    reason: OfReason = None,
    stage: OfStage = None,
    device: OfDevice = None,
    dry_run: DryRun = False,
) -> None:
    """Store a job that discards dead letters, as `punchstream dead-letters discard` would. Says how many there are."""
    _ask("discard_letters", wanted_letters(ids, reason, stage, device), note, dry_run=dry_run)


def _ask(kind: LettersKind, wanted: Selection, note: str | None, *, dry_run: bool) -> None:
    log, fleet = kafka_log("jobs"), Fleet(known_fleet)
    if wanted.devices is not None:
        stop_where_nothing_is(log, "dead_letters", "raw", devices=sorted(wanted.devices))
    asked = asyncio.run(new_job(log, kind, wanted, who(), note))
    plan = asyncio.run(plan_job(log, asked, fleet.read))
    say_skipped(plan.skipped)
    for id_, problem in plan.refused.items():
        say(f"{id_}: {problem}", err=True)
    would = {"replay_letters": "replayed", "discard_letters": "discarded"}[kind]
    say(f"{counted(len(plan.ids), 'dead letter')} would be {would}, {len(plan.refused)} left alone")
    if dry_run or not plan.ids:
        return
    asyncio.run(store(log, asked))
    say(f"Stored as the job {asked.job_id}; `punchstream jobs run` does it.")


@app.command("list")
def list_jobs(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show the jobs, in the order in which they were asked for, and how far each is."""
    skipped = Skipped()
    jobs = asyncio.run(read_jobs(kafka_log("jobs"), skipped))
    say_skipped(skipped)
    print_records(_ROW, [_row(each) for each in jobs.all()], as_json=as_json, as_csv=as_csv)


def _row(job: Job) -> dict[str, object]:
    asked, progress = job.asked, job.progress
    return {
        "job": asked.job_id,
        "does": asked.kind,
        "state": job.state,
        "total": None if progress is None else progress.total,
        "done": 0 if progress is None else progress.done,
        "refused": 0 if progress is None else progress.refused,
        "failed": 0 if progress is None else progress.failed,
        "asked_at": format_seconds(asked.asked_at),
        "by": asked.by,
        "note": asked.note,
        "problems": "; ".join(() if progress is None else progress.problems),
    }


@app.command("cancel")
def cancel_job(job_id: Annotated[str, typer.Argument(metavar="JOB", help="As `list` shows it.")]) -> None:
    """Have a job do no more. What it has done stays done."""
    job = asyncio.run(cancel(kafka_log("jobs"), job_id, who()))
    say(f"{job_id} is cancelled." if job.progress is None else f"{job_id} stops within a few seconds.")


@app.command("run")
def run_jobs(
    *,
    rate: Annotated[float, typer.Option(min=0.01, help="Replays in a second, at most.")] = REPLAYS_PER_SECOND,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and run what is asked for later.")] = False,
) -> None:
    """Run the jobs that nobody runs, also those whose process is gone, until none is left.

    Jobs that change ERPNext, which the console stores, need its settings. Several may do so at once:
    each job is run by one. Exit status 1 when one has failed.
    """
    from operations.job_runner import JobRunner, plan_doers

    log, fleet = kafka_log("jobs"), Fleet(known_fleet)
    erpnext = ErpnextSettings.load() if is_set("ERPNEXT_URL") else None
    plans = None if erpnext is None else plan_doers(PlanSource(log, erpnext, known_fleet))
    runner = JobRunner(log, fleet.read, plans, per_second=rate)

    async def run() -> list[Job]:
        over = await runner.run_all()
        while watch:
            _say(over)
            await asyncio.sleep(WATCH_SECONDS)
            over = await runner.run_all()
        return over

    over = asyncio.run(run())
    _say(over)
    if not over:
        say("There is nothing to run.")
    if any(each.state == "failed" for each in over):
        raise typer.Exit(1)


def _say(jobs: list[Job]) -> None:
    for job in jobs:
        progress = job.progress
        if progress is not None:
            say(
                f"{job.asked.job_id}: {job.state}, {progress.done:,} of {progress.total or 0:,} done, "
                f"{progress.refused:,} left alone, {progress.failed:,} failed"
            )
