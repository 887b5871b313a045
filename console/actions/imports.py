"""Imports: a file is looked at, and then its punches are taken in, by the checks of `punchstream import`."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attendance.errors import ConfigurationError, PunchstreamError
from console.acting import Refused, recorded
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from console.uploads import Upload
from operations import imports
from operations.import_rows import RowTally
from operations.imports import HowRead

AT_ONCE: Final = 5.0
"""Seconds: so long whoever commits a file waits for the result. A long file is taken in meanwhile and goes on after."""


async def look(
    context: Context, actor: Actor, folder: "TemporaryDirectory[str]", path: Path, device_id: str, how: HowRead
) -> Upload:
    """Look at a file that stands in a folder, and keep it for `commit`. Nothing is sent.

    Args:
        context: Of the console.
        actor: Who brings it.
        folder: Where it stands. It is removed with the upload, and at once where this is refused.
        path: The file.
        device_id: Whose punches it holds.
        how: How it is read.

    Raises:
        Refused: there is no such device, or the file cannot be read as what it is said to be.
    """
    upload: Upload | None = None
    try:
        device = context.registry.get(device_id)
        if device is None or not actor.sees(device.site):
            raise Refused(_("There is no such device."))
        try:
            file = imports.prepare_file(path, device_id, context.registry, how)
        except ConfigurationError as error:
            raise Refused(_("The file cannot be read like that: %(why)s"), why=str(error)) from error
        (looked,) = await imports.look([file], RowTally)
        if looked.error is not None:
            raise Refused(_("The file cannot be read: %(why)s"), why=looked.error)
        upload = Upload(actor.name, folder, looked, context.clock())
        context.uploads.add(upload)
        return upload
    finally:
        if upload is None:
            folder.cleanup()


async def commit(context: Context, actor: Actor, upload: Upload, seconds: float | None = AT_ONCE) -> None:
    """Take in what a file holds. It goes on if nobody waits for it.

    Args:
        context: Of the console.
        actor: Who does it.
        upload: What `look` has kept.
        seconds: How long to wait for the end at most; None for as long as it takes.

    Raises:
        Refused: it is being taken in already, or was.
    """
    if upload.state in ("running", "done"):
        raise Refused(_("The file is taken in already."))
    upload.state, upload.problem, upload.taken = "running", None, 0
    upload.task = asyncio.create_task(_take_in(context, actor, upload))
    await asyncio.wait({upload.task}, timeout=seconds)


async def _take_in(context: Context, actor: Actor, upload: Upload) -> None:
    file = upload.looked.file

    def progress(_: object, rows: int) -> None:
        upload.taken, upload.at = rows, context.clock()

    about = {"device": file.device.device_id, "site": file.device.site, "file": upload.name}
    try:
        async with recorded(context, actor, "import.commit", about) as ending:
            (upload.result,) = await imports.take_in([file], progress, RowTally)
            tally = upload.result.tally
            ending.result = f"{tally.rows} rows, {tally.events} punches, {tally.failed} failed"
    except PunchstreamError as error:
        # The file stays, so that it can be taken in once Kafka answers: what it has already does not count twice.
        upload.state, upload.problem = "stopped", str(error)
        return
    except BaseException as error:
        upload.state, upload.problem = "stopped", repr(error)
        raise
    upload.state = "done"
    upload.folder.cleanup()


def drop(context: Context, upload: Upload) -> None:
    """Remove a file that is not to be taken in.

    Args:
        context: Of the console.
        upload: Which one.

    Raises:
        Refused: it is being taken in.
    """
    if upload.state == "running":
        raise Refused(_("The file is being taken in."))
    context.uploads.drop(upload)
