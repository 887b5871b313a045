"""Finds runs of base64, base64url, base32 and hex in text, also broken into lines or escaped for JSON or a form."""

import re
from collections.abc import Callable, Iterator
from typing import Final

Removed = Callable[[bytes, str], bytes]
"""Takes what is cut out and what it is; returns what stands there instead."""

# How a JPEG, a PNG, a GIF and a WebP begin in base64 and in hex: a body that was cut off may hold a little of one.
ENCODED_BEGINNING: Final = re.compile(
    rb"(?:/9j/|iVBORw0KGg|R0lGODdh|R0lGODlh|UklGR|[fF]{2}[dD]8[fF]{2}|89504[eE]47|47494638|52494646)"
    rb"[A-Za-z0-9+/=_\\%\r\n-]{16,}"
)
# Of escapes only those of letters that base64 has, so that a form whose value
# is JSON is no picture; of lines only long ones, so that a list of numbers is none.
_LETTER: Final = rb"(?:[A-Za-z0-9+/=_-]|%(?:25){0,3}+(?:2[BbFf]|3[Dd])|\\{1,4}+(?:/|u00(?:2[bBfF]|3[dD])))"
_BREAK: Final = rb"(?:[ \t]*+\r?\n[ \t]*+|(?:\\{1,4}+r)?\\{1,4}+n[ \t]*+|(?:%(?:25){0,3}+0[Dd])?%(?:25){0,3}+0[Aa])"
# The last line may be short, if it is one to its end: what stands before a tab may be the next record.
_LAST: Final = _LETTER + rb"{1,15}+(?=[\"'<&%\\]|\r?\n|\Z)" + _BREAK + rb"?"
_RUN: Final = re.compile(rb"(?<![A-Za-z0-9+/=_-])(?:" + _LETTER + rb"{16,}+" + _BREAK + rb"?)++(?:" + _LAST + rb")?")
_SHORTEST_RUN: Final = 128
# Whatever can stand in a run is one letter, and all else another.
_LETTERS: Final = bytes(
    ord("a") if chr(each).isascii() and (chr(each).isalnum() or chr(each) in "+/=_-%\\\r\n \t") else ord(" ")
    for each in range(256)
)
_LONG: Final = re.compile(rb"(?<!a)a{%d,}" % _SHORTEST_RUN)
_BEGINNING_IN_LOWER: Final = re.compile(rb"/9j/|ivborw0kgg|r0lgod|uklgr|ffd8ff|89504e47|47494638|52494646")


def cut_runs(data: bytes, removed: Removed) -> bytes:
    """The text without runs that are long enough for a picture or a template, and without the beginning of a picture.

    Args:
        data: Text in UTF-8, or in an encoding that has ASCII as it does.
        removed: Called for each that is cut out.
    """

    def replaced(match: re.Match[bytes]) -> bytes:
        if match.re is _RUN and len(match[0]) < _SHORTEST_RUN:
            return match[0]
        return removed(match[0], "encoded data")

    data = b"".join(_RUN.sub(replaced, piece) if is_long else piece for piece, is_long in _pieces(data))
    return ENCODED_BEGINNING.sub(replaced, data) if _BEGINNING_IN_LOWER.search(data.lower()) else data


def _pieces(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """The data in pieces, and whether each is long enough to hold an encoded picture.

    To look at each letter of all that comes takes a second for some megabytes.
    """
    end = 0
    letters = data.translate(_LETTERS)
    for found in _LONG.finditer(letters) if b"a" * _SHORTEST_RUN in letters else ():
        yield data[end : found.start()], False
        # With the letter behind it, which tells whether its last line is one to its end.
        end = found.end() + 1
        yield data[found.start() : end], True
    yield data[end:], False
