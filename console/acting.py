"""Acting: who may ask for a page, who may have something done, and how that is written down and answered."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Final

from fastapi import Depends, Form, HTTPException, Request, params
from starlette.responses import RedirectResponse, Response

from attendance.records.console_user import ConsoleUser
from console.context import Context, context_of
from console.identity.groups import Grant
from console.rights import Actor, Right
from console.sessions import Session
from operations import activity
from operations.activity import Act, Ending


class NotSignedIn(Exception):
    """Nobody is signed in."""


def session_of(request: Request) -> Session:
    """The session of a request. What is sent by it has the token of the session.

    Raises:
        NotSignedIn: there is none, or it has ended.
    """
    context = context_of(request)
    cookie = request.cookies.get(context.cookie, "")
    session = context.sessions.find(cookie, context.clock())
    actor = None if session is None or not _is_still_theirs(request, session) else _actor(context, session)
    if session is None or actor is None:
        raise NotSignedIn
    request.state.signed_in = session
    request.state.actor = actor
    return session


def _is_still_theirs(request: Request, session: Session) -> bool:
    """Whether a proxy that has begun a session still says the same. It says with each request who somebody is."""
    if session.way != "proxy":
        return True
    ways = context_of(request).ways
    identity = ways.by_proxy(request)
    if identity is None or identity.name != session.name:
        return False
    return session.grant is None or session.grant == ways.grant(identity.groups)


def _actor(context: Context, session: Session) -> Actor | None:
    """Whose a session is, as their account is now; None where that has ended it."""
    user = context.users.user(session.name)
    if user is not None:
        return None if user.disabled or user.epoch != session.epoch else _with(user.name, user)
    return None if session.grant is None else _with(session.name, session.grant)


def _with(name: str, of: ConsoleUser | Grant) -> Actor:
    return Actor(name, of.role, None if of.sites is None else frozenset(of.sites))


SIGNED_IN: Final[Any] = Depends(session_of)
"""For pages that are for whoever is signed in."""


def check_token(request: Request, token: str) -> None:
    """Refuse what does not come from a page of this session.

    Args:
        request: Of somebody who is signed in.
        token: What the form sent.

    Raises:
        HTTPException: it is not the token of the session.
    """
    if not request.state.signed_in.has_token(token):
        raise HTTPException(403)


class Refused(Exception):
    """Something cannot be done, and whoever asked for it is told why.

    Args:
        message: One that is marked to be translated.
        values: What the message names.
    """

    def __init__(self, message: str, **values: object) -> None:
        """See the class."""
        super().__init__(message % values if values else message)
        self.message = message
        self.values = values


def reading(request: Request, _session: Annotated[Session, SIGNED_IN]) -> Actor:
    """Whoever asks for a page. Raises NotSignedIn."""
    actor: Actor = request.state.actor
    return actor


Reader = Annotated[Actor, Depends(reading)]
"""For a page that everybody sees who is signed in."""


def reading_with(right: Right) -> params.Depends:
    """For a page that only those see who have a right.

    Args:
        right: Which.
    """

    def check(actor: Reader) -> Actor:
        if not actor.may(right):
            raise HTTPException(403)
        return actor

    found: params.Depends = Depends(check)
    return found


def acting(right: Right) -> params.Depends:
    """For a form that only those may send who have a right. It has the token of the session, as `csrf`.

    Args:
        right: Which.
    """

    def check(request: Request, actor: Reader, csrf: Annotated[str, Form(max_length=200)]) -> Actor:
        check_token(request, csrf)
        if not actor.may(right):
            raise HTTPException(403)
        return actor

    found: params.Depends = Depends(check)
    return found


def recorded(
    context: Context, actor: Actor, act: Act, about: Mapping[str, str], note: str | None = None
) -> AbstractAsyncContextManager[Ending]:
    """Do something that is written down on the topic of the console's activity, before and after it.

    Args:
        context: Of the console.
        actor: Who does it.
        act: What.
        about: Of what: `device`, `number`, `employee`, `event_id`, `site`, `account` and the like.
        note: Why.
    """
    return activity.recorded(context.log, actor.name, actor.via, act, about, note)


def done(request: Request, message: str, back: str) -> Response:
    """Answer a form: the page that comes next says what was done.

    Args:
        request: The form.
        message: In the language of the page.
        back: The address of the page that comes next.
    """
    request.state.signed_in.notices.append(message)
    return RedirectResponse(back, 303)
