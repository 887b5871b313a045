"""Accounts and tokens: who may use the console and its API."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from attendance.errors import ConfigurationError
from attendance.records.console_user import ApiToken, Role
from console.acting import Refused, recorded
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from operations import console_users
from operations.console_users import AdministratorOfSites, LastAdministrator, UnknownAccount
from operations.log import Skipped


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    try:
        yield
    except LastAdministrator as error:
        raise Refused(_("%(name)s is the last administrator. Make somebody else one first."), name=name) from error
    except AdministratorOfSites as error:
        raise Refused(_("An administrator sees every site. Tick every site, or choose another role.")) from error
    except UnknownAccount as error:
        raise Refused(_("There is nobody called %(name)s any more."), name=name) from error
    except ConfigurationError as error:
        raise Refused(_("%(name)s cannot be used: it is too long, or somebody is called so."), name=name) from error


async def add_account(context: Context, actor: Actor, name: str, role: Role, sites: Sequence[str] | None) -> str:
    """Let somebody use the console.

    Args:
        context: Of the console.
        actor: Who does it.
        name: By which they sign in.
        role: What they may do.
        sites: The sites that they see; None for every one.

    Returns:
        Their password, which nobody can find out again.

    Raises:
        Refused: there is somebody of that name, or the name or the sites cannot be.
        KafkaUnavailable: Kafka does not answer; they may be there or not.
    """
    password = console_users.new_password()
    with _in_words(name):
        async with recorded(context, actor, "account.add", _account(name, role, sites)):
            user = await console_users.add_user(
                context.log, name, password, actor.name, Skipped(), role=role, sites=sites
            )
    context.users.put(user)
    return password


async def change_account(context: Context, actor: Actor, name: str, role: Role, sites: Sequence[str] | None) -> None:
    """Give somebody another role, or other sites. Takes and raises what `add_account` does."""
    with _in_words(name):
        async with recorded(context, actor, "account.change", _account(name, role, sites)):
            user = await console_users.change_role(
                context.log, name, actor.name, Skipped(), role=role, sites=sites, keep_last=True
            )
    context.users.put(user)


async def set_disabled(context: Context, actor: Actor, name: str, *, disabled: bool) -> None:
    """Keep somebody out, and end their sessions, or let them in again.

    Args:
        context: Of the console.
        actor: Who does it.
        name: Of whom.
        disabled: Whether they are kept out.

    Raises:
        Refused: there is nobody of that name, or nobody else is an administrator.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    about = {"account": name, "disabled": "yes" if disabled else "no"}
    with _in_words(name):
        async with recorded(context, actor, "account.change", about):
            user = await console_users.set_disabled(
                context.log, name, actor.name, Skipped(), disabled=disabled, keep_last=True
            )
    context.users.put(user)


async def change_password(context: Context, actor: Actor, name: str) -> str:
    """Give somebody another password, and end their sessions. Takes, returns and raises what `add_account` does."""
    password = console_users.new_password()
    with _in_words(name):
        async with recorded(context, actor, "account.password", {"account": name}):
            user = await console_users.change_password(context.log, name, password, actor.name, Skipped())
    context.users.put(user)
    return password


async def remove_account(context: Context, actor: Actor, name: str) -> None:
    """Remove somebody, and end their sessions. Takes and raises what `set_disabled` does."""
    with _in_words(name):
        async with recorded(context, actor, "account.remove", {"account": name}):
            await console_users.remove_user(context.log, name, Skipped(), keep_last=True)
    context.users.forget(name)


async def add_token(
    context: Context, actor: Actor, name: str, role: Role, sites: Sequence[str] | None, expires_at: datetime | None
) -> tuple[ApiToken, str]:
    """Make a token of the API.

    Args:
        context: Of the console.
        actor: Who does it.
        name: What it is for.
        role: What whoever has it may do.
        sites: The sites that they see; None for every one.
        expires_at: Until when it is good; None for ever.

    Returns:
        Its entry, and the token, which nobody can find out again.

    Raises:
        Refused: the name or the sites cannot be.
        KafkaUnavailable: Kafka does not answer; it may be there or not.
    """
    about = {"token": name, **_role(role, sites)}
    with _in_words(name):
        async with recorded(context, actor, "token.add", about) as ending:
            token, text = await console_users.add_token(
                context.log, name, actor.name, role=role, sites=sites, expires_at=expires_at
            )
            ending.result = token.id
    context.users.put(token)
    return token, text


async def remove_token(context: Context, actor: Actor, id_: str) -> None:
    """Remove a token: it is refused from then on.

    Args:
        context: Of the console.
        actor: Who does it.
        id_: Of which one.

    Raises:
        Refused: there is none of that id.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    try:
        async with recorded(context, actor, "token.remove", {"token": id_}) as ending:
            token = await console_users.remove_token(context.log, id_, Skipped())
            ending.result = token.name
    except ConfigurationError as error:
        raise Refused(_("There is no such token any more.")) from error
    context.users.forget_token(id_)


def _account(name: str, role: Role, sites: Sequence[str] | None) -> dict[str, str]:
    return {"account": name, **_role(role, sites)}


def _role(role: Role, sites: Sequence[str] | None) -> dict[str, str]:
    return {"role": role, **({} if sites is None else {"sites": ", ".join(sites)})}
