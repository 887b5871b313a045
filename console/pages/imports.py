"""Imports: somebody brings a file, looks at what it holds, takes it in, and sees what came of each row."""

import asyncio
import shutil
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import RedirectResponse, Response

from console.acting import Refused, acting, check_token, done, reading_with
from console.actions import imports
from console.context import Context, context_of, language_of, page
from console.language import marked as _
from console.rights import Actor, Right
from console.uploads import MOST_BYTES, Upload, file_in, new_folder
from console.words import DIRECTIONS, OUTCOMES
from ledger.punches import outcomes_of
from operations.import_rows import Problem
from operations.imports import PROFILES, HowRead

router: Final = APIRouter()

ADDRESS: Final = "/imports"
AT_ONCE: Final = 100
"""Rows of one page."""
FORM_BYTES: Final = 2**16
"""Of a form beside its file."""
DATE_FORMATS: Final = {
    "dmy": _("Day, month, year"),
    "mdy": _("Month, day, year"),
    "ymd": _("Year, month, day"),
}
PROBLEMS: Final[dict[Problem, str]] = {
    "rejected": _("Refused"),
    "unreadable_time": _("The time cannot be read"),
    "ahead": _("The time is in the future"),
    "before_installed": _("The device was not there yet at that time"),
}

Reader = Annotated[Actor, reading_with(Right.IMPORTS)]
Importer = Annotated[Actor, acting(Right.IMPORTS)]


@dataclass(frozen=True, slots=True)
class Entered:
    """What was entered beside the file."""

    device: str = ""
    profile: str = ""
    date_format: str = ""
    month: str = ""

    @classmethod
    def of(cls, form: FormData) -> "Entered":
        """What a form says."""
        texts = (form.get(name) for name in ("device", "profile", "date_format", "month"))
        return cls(*(each.strip() if isinstance(each, str) else "" for each in texts))

    @property
    def how(self) -> HowRead:
        """How the file is read."""
        return HowRead(self.profile, self.date_format, {"month": self.month} if self.month else {})


@router.get(ADDRESS)
async def form(request: Request, actor: Reader) -> Response:
    """The form."""
    return _form(request, actor, Entered())


@router.post(f"{ADDRESS}/look")
async def look(request: Request, actor: Reader) -> Response:
    """Take a file, and show what it holds. Nothing is sent."""
    _refuse_large(request)
    context = context_of(request)
    # Not before whoever sends it may: so the form is no parameter.
    async with request.form(max_files=1, max_fields=20) as form:
        token, file, entered = form.get("csrf"), form.get("file"), Entered.of(form)
        check_token(request, token if isinstance(token, str) else "")
        if not isinstance(file, UploadFile) or not file.filename:
            return _form(request, actor, entered, Refused(_("Choose a file.")))
        folder = new_folder()
        path = file_in(folder, file.filename)
        with path.open("wb") as kept:
            await asyncio.to_thread(shutil.copyfileobj, file.file, kept)
    try:
        upload = await imports.look(context, actor, folder, path, entered.device, entered.how)
    except Refused as refusal:
        return _form(request, actor, entered, refusal)
    return RedirectResponse(f"{ADDRESS}/{upload.id}", 303)


@router.get(f"{ADDRESS}/{{upload_id}}")
async def show(
    request: Request,
    actor: Reader,
    upload_id: str,
    number: Annotated[int, Query(ge=1, le=100_000)] = 1,
    *,
    problems: bool = False,
) -> Response:
    """A file: the preview of it, or what came of it."""
    context = context_of(request)
    upload = _known(context, actor, upload_id)
    first, rows = (number - 1) * AT_ONCE, upload.rows.each
    some = rows.some(first, AT_ONCE, problems=problems)
    ids = [each.event_id for each in some if each.event_id is not None] if upload.state == "done" else []
    became = await asyncio.to_thread(outcomes_of, context.database, ids)
    return page(
        request,
        "import.html",
        upload=upload,
        tally=upload.rows,
        rows=some,
        became=became,
        outcomes=OUTCOMES,
        directions=DIRECTIONS,
        problems=PROBLEMS,
        only_problems=problems,
        with_problem=rows.count(problems=True),
        number=number,
        more=first + AT_ONCE < rows.count(problems=problems),
    )


@router.post(f"{ADDRESS}/{{upload_id}}/commit")
async def commit(request: Request, actor: Importer, upload_id: str) -> Response:
    """Take it in."""
    context = context_of(request)
    await imports.commit(context, actor, _known(context, actor, upload_id))
    return RedirectResponse(f"{ADDRESS}/{upload_id}", 303)


@router.post(f"{ADDRESS}/{{upload_id}}/drop")
async def drop(request: Request, actor: Importer, upload_id: str) -> Response:
    """Remove it."""
    context = context_of(request)
    imports.drop(context, _known(context, actor, upload_id))
    return done(request, language_of(request).say(_("The file is removed.")), ADDRESS)


def _known(context: Context, actor: Actor, upload_id: str) -> Upload:
    upload = context.uploads.find(upload_id, actor.name, context.clock())
    if upload is None:
        raise HTTPException(404)
    return upload


def _refuse_large(request: Request) -> None:
    """Refuse a body before it is read. The server holds whoever sends it to the length that they say."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES + FORM_BYTES:
        raise Refused(_("The file is too large: %(megabytes)s MB at most."), megabytes=MOST_BYTES // 2**20)


def _form(request: Request, actor: Actor, entered: Entered, refusal: Refused | None = None) -> Response:
    language = language_of(request)
    return page(
        request,
        "imports.html",
        200 if refusal is None else 409,
        entered=entered,
        devices=sorted(
            each.device_id for each in context_of(request).registry if actor.sees(each.site) and not each.disabled
        ),
        profiles=PROFILES,
        date_formats=DATE_FORMATS,
        megabytes=MOST_BYTES // 2**20,
        problem=None if refusal is None else language.say(refusal.message) % refusal.values,
    )
