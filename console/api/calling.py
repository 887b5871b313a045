"""Calling: who calls the API, what they may do, and how a refusal is written."""

from math import ceil
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from console.context import context_of
from console.rights import Actor, Right

_BEARER: Final = HTTPBearer(auto_error=False, description="A token of `punchstream console token add`.")


class Problem(BaseModel):
    """Why something was refused."""

    error: str


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": said}
    for status, said in (
        (400, "The body of the request cannot be read."),
        (401, "There is no token, or it is not good any more."),
        (403, "The token does not have the right."),
        (404, "There is no such thing, or not for this token."),
        (409, "It cannot be done as things are."),
        (429, "Too many wrong tokens came from there. `Retry-After` says when to try again."),
        (422, "The request says something that cannot be."),
        (503, "Kafka or the ledger does not answer. Try again."),
    )
}
"""What each call may answer besides what it is for."""


def calling(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None) -> Actor:
    """Whoever calls.

    Whoever tries wrong tokens has to wait. A token that is good counts all the same: nobody guesses one, and a program
    with an old one keeps no other out.

    Raises:
        HTTPException: there is no token, or it is not good any more; or too many wrong ones came from there.
    """
    context = context_of(request)
    token = None if given is None else context.users.token(given.credentials, context.clock())
    if token is None:
        if given is not None:
            _count(request)
        raise HTTPException(401, "there is no token, or it is not good any more", {"WWW-Authenticate": "Bearer"})
    return Actor(token.name, token.role, None if token.sites is None else frozenset(token.sites), "api")


def _count(request: Request) -> None:
    """Count a wrong token.

    Raises:
        HTTPException: too many came from there.
    """
    context = context_of(request)
    client, at = context.ways.client(request), context.clock()
    if wait := context.wrong_tokens.wait(None, client, at):
        seconds = str(ceil(wait.total_seconds()))
        raise HTTPException(429, "too many wrong tokens came from there", {"Retry-After": seconds})
    context.wrong_tokens.failed(None, client, at)


Caller = Annotated[Actor, Depends(calling)]
"""For what every token may read."""


def calling_with(right: Right) -> params.Depends:
    """For what only a token may do that has a right.

    Args:
        right: Which.
    """

    def check(actor: Caller) -> Actor:
        if not actor.may(right):
            raise HTTPException(403, "the token does not have the right")
        return actor

    found: params.Depends = Depends(check)
    return found
