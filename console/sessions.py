"""Sessions: who is signed in, in the memory of the process. They end with it.

A cookie is a random text, and only its digest is kept: whoever reads this process's memory has no cookie of it.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from console.identity.groups import Grant
from console.identity.ways import Way

MOST: Final = 10_000
"""Sessions at a time. The one that was idle longest goes for a new one."""
NO_ACCOUNT: Final = -1
"""The epoch of a session whose person has no account: no account has it."""
_BYTES: Final = 32


@dataclass(slots=True)
class Session:
    """One browser of somebody who is signed in.

    Attributes:
        name: Whose it is.
        epoch: The account's when it began: once that is another, for a password was changed, the session has ended.
        began: When.
        seen: When it was last used.
        csrf: The token that every form of it has.
        way: How they signed in.
        grant: What their groups gave them, where they have no account.
        notices: What the next page says, once.
    """

    name: str
    epoch: int
    began: datetime
    seen: datetime
    csrf: str = field(repr=False)
    way: Way = "password"
    grant: Grant | None = None
    notices: list[str] = field(default_factory=list, repr=False)

    def take_notices(self) -> list[str]:
        """What is to be said, which is said by that."""
        taken, self.notices = self.notices, []
        return taken

    def has_token(self, token: str) -> bool:
        """Whether a form has the token of the session."""
        return compare_digest(token.encode(), self.csrf.encode())


class Sessions:
    """Every session."""

    def __init__(self, idle: timedelta, longest: timedelta, most: int = MOST) -> None:
        """There is none yet.

        Args:
            idle: So long unused a session ends.
            longest: So long after its beginning it ends however it is used.
            most: How many are kept.
        """
        self._idle = idle
        self._longest = longest
        self._most = most
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, name: str, epoch: int, at: datetime, way: Way = "password", grant: Grant | None = None) -> str:
        """Begin one.

        Args:
            name: Who has signed in.
            epoch: Of the account; `NO_ACCOUNT` where there is none.
            at: What time it is.
            way: How they signed in.
            grant: What their groups give them, where they have no account.

        Returns:
            The cookie.
        """
        while len(self._sessions) >= self._most:
            self._sessions.popitem(last=False)
        cookie = secrets.token_urlsafe(_BYTES)
        self._sessions[_digest(cookie)] = Session(name, epoch, at, at, secrets.token_urlsafe(_BYTES), way, grant)
        return cookie

    def find(self, cookie: str, at: datetime) -> Session | None:
        """The session of a cookie, which is used now; None where there is none, or it has ended.

        Args:
            cookie: What the browser sent.
            at: What time it is.
        """
        key = _digest(cookie)
        session = self._sessions.get(key)
        if session is None:
            return None
        if at - session.seen > self._idle or at - session.began > self._longest:
            del self._sessions[key]
            return None
        session.seen = at
        self._sessions.move_to_end(key)
        return session

    def end(self, cookie: str) -> None:
        """End the session of a cookie, if there is one."""
        self._sessions.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode(errors="replace")).digest()
