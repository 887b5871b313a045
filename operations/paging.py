"""Pages of long lists, and the tokens by which they go on."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from attendance.errors import PunchstreamError

Row = TypeVar("Row")
_LARGEST: Final = 2**63


class InvalidPageToken(PunchstreamError):
    """A page token that this list has not given out."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some lines of a list.

    Attributes:
        rows: In the order of the list.
        next: The token by which the list goes on after them; None at its end. Only the list itself reads it.
    """

    rows: Sequence[Row]
    next: str | None = None


def page_token(*key: str | int) -> str:
    """The token of the lines after one.

    Args:
        key: Of that line, by what the list is in order.
    """
    return urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def page_key(token: str, *kinds: type) -> tuple[Any, ...]:
    """The key of the line that a token was made of.

    Args:
        token: What `page_token` made.
        kinds: The type of each part of the key.

    Raises:
        InvalidPageToken: it is no token, or one of another list.
    """
    try:
        key = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        key = None
    if not isinstance(key, list) or [*map(type, key)] != [*kinds] or not all(map(_fits, key)):
        raise InvalidPageToken("this page token is of no such list: begin with its first page")
    return tuple(key)


def _fits(part: str | int) -> bool:
    """Whether a database takes it."""
    return isinstance(part, str) or -_LARGEST <= part < _LARGEST
