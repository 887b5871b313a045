"""Imports by the API: the body of a request is the file."""

from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from console.actions import imports
from console.api.calling import calling_with
from console.context import context_of
from console.rights import Actor, Right
from console.uploads import MOST_BYTES, Upload, file_in, new_folder
from operations.import_rows import Problem
from operations.imports import HowRead

router: Final = APIRouter(tags=["imports"])

MOST_ROWS: Final = 1000
"""Rows with a problem that are named."""

Importer = Annotated[Actor, calling_with(Right.IMPORTS)]
Name = Annotated[str, Query(min_length=1, max_length=200)]
Choice = Annotated[str, Query(max_length=100)]


class ProblemRow(BaseModel):
    """A row with a problem."""

    line: int
    problem: Problem
    message: str | None
    device_user_id: str | None
    time: str | None


class Taken(BaseModel):
    """What a file holds, and whether its punches are taken in. The first problems are named."""

    rows: int
    punches: int
    ignored: int
    failed: int
    unknown_users: list[str] | None
    taken_in: bool
    error: str | None
    problems: list[ProblemRow]


@router.post("/imports")
async def import_file(
    request: Request,
    actor: Importer,
    device: Name,
    file_name: Name,
    *,
    profile: Choice = "",
    date_format: Choice = "",
    month: Choice = "",
    dry_run: bool = False,
) -> Taken:
    """Take in the file that is the body, or only look at it. A file may be sent again: no punch counts twice."""
    context, folder = context_of(request), new_folder()
    path = file_in(folder, file_name)
    try:
        size = 0
        with path.open("wb") as kept:
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise HTTPException(413, f"more than {MOST_BYTES} bytes")
                kept.write(part)
    except BaseException:
        folder.cleanup()
        raise
    how = HowRead(profile, date_format, {"month": month} if month else {})
    upload = await imports.look(context, actor, folder, path, device, how)
    try:
        if not dry_run:
            await imports.commit(context, actor, upload, None)
            if upload.state != "done":
                raise HTTPException(503, f"{upload.problem}; try again")
        return _taken(upload)
    finally:
        context.uploads.drop(upload)


def _taken(upload: Upload) -> Taken:
    tally, rows = upload.rows, upload.rows.each.some(0, MOST_ROWS, problems=True)
    return Taken(
        rows=tally.rows,
        punches=tally.events,
        ignored=tally.ignored,
        failed=tally.failed,
        unknown_users=None if upload.looked.unknown_users is None else list(upload.looked.unknown_users),
        taken_in=upload.state == "done",
        error=None if upload.result is None else upload.result.error,
        problems=[
            ProblemRow(
                line=each.line,
                problem=each.problem,
                message=each.message,
                device_user_id=each.user,
                time=each.written,
            )
            for each in rows
            if each.problem is not None
        ],
    )
