"""Accounts: who may use the console, what they may do, and the tokens of its API."""

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from attendance.records.console_user import Role
from console.acting import Refused, acting, done, reading_with
from console.actions import accounts
from console.context import Context, context_of, language_of, page
from console.language import marked as _
from console.rights import Actor, Right
from console.words import ROLES

router: Final = APIRouter()

ADDRESS: Final = "/accounts"
MOST_DAYS: Final = 3650

Reader = Annotated[Actor, reading_with(Right.ACCOUNTS)]
Administrator = Annotated[Actor, acting(Right.ACCOUNTS)]
Name = Annotated[str, Form(max_length=200)]
Chosen = Annotated[Role, Form()]
Every = Annotated[bool, Form()]
Sites = Annotated[list[str] | None, Form(max_length=10_000)]


@router.get(ADDRESS)
async def show(request: Request, actor: Reader) -> Response:
    """Everybody, and every token."""
    context = context_of(request)
    return page(
        request,
        "accounts.html",
        users=context.users.all(),
        tokens=context.users.tokens(),
        roles=ROLES,
        sites=known_sites(context),
        at=context.clock(),
        actor=actor,
    )


@router.post(f"{ADDRESS}/add")
async def add(
    request: Request, actor: Administrator, name: Name, role: Chosen, *, every: Every = False, sites: Sites = None
) -> Response:
    """Let somebody use the console; the next page says their password, once."""
    password = await accounts.add_account(context_of(request), actor, name.strip(), role, chosen(sites, every=every))
    said = language_of(request).say(_("%(name)s may use the console. The password, said once: %(password)s"))
    return done(request, said % {"name": name.strip(), "password": password}, ADDRESS)


@router.post(f"{ADDRESS}/change")
async def change(
    request: Request, actor: Administrator, name: Name, role: Chosen, *, every: Every = False, sites: Sites = None
) -> Response:
    """Give somebody another role, or other sites."""
    await accounts.change_account(context_of(request), actor, name, role, chosen(sites, every=every))
    return done(request, language_of(request).say(_("%(name)s is changed.")) % {"name": name}, ADDRESS)


@router.post(f"{ADDRESS}/password")
async def password(request: Request, actor: Administrator, name: Name) -> Response:
    """Give somebody another password; the next page says it, once."""
    made = await accounts.change_password(context_of(request), actor, name)
    said = language_of(request).say(_("%(name)s has another password, said once: %(password)s"))
    return done(request, said % {"name": name, "password": made}, ADDRESS)


@router.post(f"{ADDRESS}/disable")
async def disable(request: Request, actor: Administrator, name: Name) -> Response:
    """Keep somebody out."""
    await accounts.set_disabled(context_of(request), actor, name, disabled=True)
    return done(request, language_of(request).say(_("%(name)s is kept out.")) % {"name": name}, ADDRESS)


@router.post(f"{ADDRESS}/enable")
async def enable(request: Request, actor: Administrator, name: Name) -> Response:
    """Let somebody in again."""
    await accounts.set_disabled(context_of(request), actor, name, disabled=False)
    return done(request, language_of(request).say(_("%(name)s may come in again.")) % {"name": name}, ADDRESS)


@router.post(f"{ADDRESS}/remove")
async def remove(request: Request, actor: Administrator, name: Name) -> Response:
    """Remove somebody."""
    await accounts.remove_account(context_of(request), actor, name)
    return done(request, language_of(request).say(_("%(name)s is removed.")) % {"name": name}, ADDRESS)


@router.post(f"{ADDRESS}/tokens/add")
async def add_token(
    request: Request,
    actor: Administrator,
    name: Name,
    role: Chosen,
    *,
    every: Every = False,
    sites: Sites = None,
    days: Annotated[int, Form(ge=1, le=MOST_DAYS)] = 365,
) -> Response:
    """Make a token; the next page says it, once."""
    context = context_of(request)
    last = context.clock().astimezone(UTC).date() + timedelta(days=days)
    until = datetime.combine(last, time(), UTC)
    _token, text = await accounts.add_token(context, actor, name.strip(), role, chosen(sites, every=every), until)
    said = language_of(request).say(_("The token for %(name)s, said once: %(token)s"))
    return done(request, said % {"name": name.strip(), "token": text}, ADDRESS)


@router.post(f"{ADDRESS}/tokens/remove")
async def remove_token(
    request: Request, actor: Administrator, token_id: Annotated[str, Form(max_length=100)]
) -> Response:
    """Remove a token."""
    await accounts.remove_token(context_of(request), actor, token_id)
    return done(request, language_of(request).say(_("The token is removed.")), ADDRESS)


def known_sites(context: Context) -> list[str]:
    """The sites of the fleet.

    Args:
        context: Of the console.
    """
    return sorted({device.site for device in context.registry})


def chosen(sites: list[str] | None, *, every: bool) -> list[str] | None:
    """The sites that a form says; None for every one.

    Args:
        sites: Those that are ticked.
        every: Whether every site is.

    Raises:
        Refused: both or neither: nobody knows what was meant.
    """
    if every == bool(sites):
        raise Refused(_("Tick the sites, or every site, and not both."))
    return None if every else sites
