"""Accounts and tokens by the API."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Request
from pydantic import AwareDatetime, BaseModel, Field

from attendance.records.console_user import ApiToken, ConsoleUser, Role
from console.actions import accounts
from console.api.calling import calling_with
from console.context import context_of
from console.rights import Actor, Right

router: Final = APIRouter(tags=["accounts"])

Administrator = Annotated[Actor, calling_with(Right.ACCOUNTS)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Sites = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=10_000)]


class RoleOf(BaseModel):
    """What somebody may do, and where. Without `sites` they see every one."""

    role: Role
    sites: Sites | None = None


class NewAccount(RoleOf):
    """An account that is to be made."""

    name: Name


class Change(RoleOf):
    """An account as it is to be."""

    disabled: bool = False


class Account(NewAccount):
    """An account."""

    disabled: bool
    changed_at: datetime
    changed_by: str


class Password(BaseModel):
    """A password that was made. It is said once."""

    password: str


class NewToken(NewAccount):
    """A token that is to be made; `name` says what it is for. Without `expires_at` it is good for ever."""

    expires_at: AwareDatetime | None = None


class Token(NewToken):
    """A token, without its text."""

    id: str
    made_at: datetime
    made_by: str


class MadeToken(Token):
    """A token that was made. Its text is said once."""

    token: str


@router.get("/accounts")
async def list_accounts(request: Request, _actor: Administrator) -> list[Account]:
    """Who may use the console, by name."""
    return [_account(each) for each in context_of(request).users.all()]


@router.post("/accounts", status_code=201)
async def add_account(request: Request, actor: Administrator, new: NewAccount) -> Password:
    """Let somebody use the console. The password is said once."""
    return Password(password=await accounts.add_account(context_of(request), actor, new.name, new.role, new.sites))


@router.put("/accounts/{name}")
async def change_account(request: Request, actor: Administrator, name: str, change: Change) -> Account:
    """Give somebody a role and sites, and keep them out or let them in."""
    context = context_of(request)
    known = _known(context.users.user(name))
    if (known.role, known.sites) != (change.role, None if change.sites is None else tuple(sorted(set(change.sites)))):
        await accounts.change_account(context, actor, name, change.role, change.sites)
    if known.disabled != change.disabled:
        await accounts.set_disabled(context, actor, name, disabled=change.disabled)
    return _account(_known(context.users.user(name)))


@router.post("/accounts/{name}/password")
async def change_password(request: Request, actor: Administrator, name: str) -> Password:
    """Give somebody another password, which is said once, and end their sessions."""
    context = context_of(request)
    _known(context.users.user(name))
    return Password(password=await accounts.change_password(context, actor, name))


@router.delete("/accounts/{name}", status_code=204)
async def remove_account(request: Request, actor: Administrator, name: str) -> None:
    """Remove somebody, and end their sessions."""
    context = context_of(request)
    _known(context.users.user(name))
    await accounts.remove_account(context, actor, name)


@router.get("/tokens")
async def list_tokens(request: Request, _actor: Administrator) -> list[Token]:
    """The tokens of this API, by when they were made."""
    return list(_tokens(context_of(request).users.tokens()))


@router.post("/tokens", status_code=201)
async def add_token(request: Request, actor: Administrator, new: NewToken) -> MadeToken:
    """Make a token. Its text is said once."""
    context = context_of(request)
    token, text = await accounts.add_token(context, actor, new.name, new.role, new.sites, new.expires_at)
    (made,) = _tokens([token])
    return MadeToken(token=text, **made.model_dump())


@router.delete("/tokens/{token_id}", status_code=204)
async def remove_token(request: Request, actor: Administrator, token_id: str) -> None:
    """Remove a token: it is refused from then on."""
    await accounts.remove_token(context_of(request), actor, token_id)


def _known(user: ConsoleUser | None) -> ConsoleUser:
    if user is None:
        raise HTTPException(404, "there is nobody of that name")
    return user


def _account(user: ConsoleUser) -> Account:
    return Account(
        name=user.name,
        role=user.role,
        sites=None if user.sites is None else list(user.sites),
        disabled=user.disabled,
        changed_at=user.changed_at,
        changed_by=user.changed_by,
    )


def _tokens(tokens: Iterable[ApiToken]) -> Iterable[Token]:
    for each in tokens:
        yield Token(
            id=each.id,
            name=each.name,
            role=each.role,
            sites=None if each.sites is None else list(each.sites),
            expires_at=each.expires_at,
            made_at=each.made_at,
            made_by=each.made_by,
        )
