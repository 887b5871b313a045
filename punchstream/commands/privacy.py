"""The `privacy` commands: what is kept of a person, and erasing it."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from attendance.errors import ConfigurationError
from attendance.private_files import new_private
from attendance.records.user_map import EVERYWHERE, device_scope, site_scope
from attendance.settings import KafkaSettings, StreamSettings
from attendance.times import now
from punchstream.commands.arguments import device_finder, fleet_has, kafka_log, known_devices, who
from punchstream.output import AsJson, counted, print_json, say

if TYPE_CHECKING:
    from operations.erasing import Erasure
    from operations.persons import Asked

CLIENT = "privacy"
_WITHOUT_RECORDS: Final = 2
"""So many pieces has a document of nobody: how it begins, and how it ends."""

app = typer.Typer(help="What is kept of a person: export it, erase it.", no_args_is_help=True)

Employee = Annotated[str | None, typer.Option("--employee", help="The employee, as ERPNext names them.")]
User = Annotated[str | None, typer.Option("--user", help="The device user, where there is no employee.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Only that device's user.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Only that site's user.")]


@app.command("export")
def export_person(
    to: Annotated[Path, typer.Option("--to", help="A new file, which only its owner may read; `-` is the output.")],
    *,
    employee: Employee = None,
    user: User = None,
    device: DeviceOption = None,
    site: SiteOption = None,
) -> None:
    """Write everything that is kept of a person, as JSON, with where it is and until when.

    What ERPNext has is not part of it. Exit status 1 if nothing is kept of them: the document says so too. No file
    is written if the device or the site is not there either.
    """
    from attendance.kafka.removal import KafkaCluster
    from operations.person_export import export
    from operations.persons import find_person

    asked, settings = _asked(employee, user, device, site), KafkaSettings.load()
    log, cluster = kafka_log(CLIENT), KafkaCluster(settings, settings.client_id(CLIENT))

    async def write(file: BinaryIO) -> bool:
        """Returns whether there is any record of the person."""
        retention = await cluster.retention()
        person = await find_person(log, asked, _site_of())
        pieces = 0
        async for piece in export(log, retention, person, now()):
            file.write(piece)
            pieces += 1
        return pieces > _WITHOUT_RECORDS

    if str(to) == "-":
        is_found = asyncio.run(write(sys.stdout.buffer))
    else:
        try:
            with new_private(to) as file:
                if not (is_found := asyncio.run(write(file))):
                    _stop_where_it_is_nowhere(device, site)
        except OSError as error:
            raise ConfigurationError(f"--to: {to}: {error.strerror}") from error
        say(f"{to}: written")
    if not is_found:
        _stop_where_it_is_nowhere(device, site)
        say("Nothing is kept of this person.", err=True)
        raise typer.Exit(1)


@app.command("erase")
def erase_person(
    *,
    employee: Employee = None,
    user: User = None,
    device: DeviceOption = None,
    site: SiteOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and until when the rest stays.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person: from the user map, from what waits, and from the stream's changelog.

    Their open dead letters are discarded. What a topic keeps for a time stays until then: the last day is named. The
    stream has to be stopped meanwhile; terminals are answered. Exit status 1 if nothing is there of the person, or they
    cannot be erased now.
    """
    from attendance.kafka.removal import KafkaCluster
    from operations.erasing import erase, plan_erasure
    from operations.persons import find_person

    asked, settings = _asked(employee, user, device, site), KafkaSettings.load()
    log, cluster = kafka_log(CLIENT), KafkaCluster(settings, settings.client_id(CLIENT))
    groups = {"stream": settings.group("stream")}

    async def plan() -> "Erasure":
        return await plan_erasure(log, cluster, groups, await find_person(log, asked, _site_of()))

    erasure = asyncio.run(plan())
    if as_json:
        print_json(erasure.to_json() | {"dry_run": dry_run})
    else:
        for line in erasure.lines(dry_run=dry_run):
            say(line)
    if not erasure.is_found:
        _stop_where_it_is_nowhere(device, site)
        say("Nothing is kept of this person.", err=True)
        raise typer.Exit(1)
    if erasure.objections:
        for each in erasure.objections:
            say(f"Not erased: {each}.", err=True)
        raise typer.Exit(1)
    if dry_run:
        return
    stream = StreamSettings.load()
    asyncio.run(erase(log, cluster, groups, erasure, ahead=stream.future_tolerance, by=who()))
    removed = _remove_stores(stream.dedup_directory / settings.topics["dedup_state"])
    if not as_json:
        say("Erased. Start the stream again.")
        if removed:
            say(f"{stream.dedup_directory}: {counted(removed, 'store')} of the stream removed; it makes them anew.")


@app.command("readmit")
def readmit_employee(
    employee: Annotated[str, typer.Option("--employee", help="The employee, as ERPNext names them.")],
) -> None:
    """Let the directory have an employee again who was erased, such as one who comes back."""
    from operations.erasing import readmit

    if not asyncio.run(readmit(kafka_log(CLIENT), employee)):
        say("No employee of that name was erased.", err=True)
        raise typer.Exit(1)
    say("The directory has them again after its next full comparison.")


def _asked(employee: str | None, user: str | None, device: str | None, site: str | None) -> "Asked":
    """Who is meant.

    Raises:
        ConfigurationError: nobody, or two.
    """
    from operations.persons import Asked

    if (employee is None) == (user is None):
        raise ConfigurationError("name the person by --employee, or by --user")
    if device is not None and site is not None:
        raise ConfigurationError("--device and --site: one of them says where the user is this person")
    if employee is not None:
        if device is not None or site is not None:
            raise ConfigurationError("--device and --site are for --user")
        return Asked(employee)
    scope = device_scope(device) if device is not None else EVERYWHERE if site is None else site_scope(site)
    return Asked(None, user, scope)


def _stop_where_it_is_nowhere(device: str | None, site: str | None) -> None:
    """Where no record is of a person: end with status 1 if their device or site is not in the fleet either."""
    missing = None
    if device is not None and not fleet_has()(device):
        missing = f"There is no device {device}: the fleet does not have it, and no record of this user names it."
    if site is not None and all(each.site != site for each in known_devices()):
        missing = f"There is no site {site}: no device of the fleet is of it, and no record of this user names it."
    if missing is not None:
        say(missing, err=True)
        raise typer.Exit(1)


def _site_of() -> Callable[[str], str | None]:
    """The site of a device by the fleet; one that is not there, or is wrong, says nothing."""
    find = device_finder()

    def site_of(device_id: str) -> str | None:
        device = find(device_id)
        return None if device is None else device.site

    return site_of


def _remove_stores(directory: Path) -> int:
    """Remove the stores that a stream of this machine has on disk: they are those of the changelog as it was."""
    import shutil

    stores = [each for each in directory.glob("*") if each.name.isdigit() and (each / "CURRENT").exists()]
    for each in stores:
        shutil.rmtree(each)
    return len(stores)
