"""Finds photographs and templates in bytes of any form, and cuts them out.

`redact` is for what is only to be looked at, and cuts in doubt. `cut` is for what is to be read again: it takes no
text for a picture, and says what it could not tell.
"""

import json
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from python_multipart.multipart import parse_options_header

# Base64, base64url and hex, also broken into lines or escaped for JSON or a form. The look-behind keeps the search
# linear: a run that is too short is looked at once and not again from each of its characters.
_ENCODED: Final = re.compile(rb"(?<![A-Za-z0-9+/=_\\%\r\n-])[A-Za-z0-9+/=_\\%\r\n-]{128,}")
# How a JPEG and a PNG begin in base64 and in hex: a body that was cut off may hold a little of one.
_BEGINNING: Final = re.compile(rb"(?:/9j/|iVBORw0KGg|[fF]{2}[dD]8[fF]{2}|89504[eE]47)[A-Za-z0-9+/=_\\%\r\n-]{16,}")
# A JPEG holds others within it, so the end marker is no end. A part of a multipart body ends with the next boundary.
_IMAGE: Final = re.compile(rb"(?:\xff\xd8\xff|\x89PNG\r\n).*?(?=\r\n--|\Z)", re.DOTALL)

# The same as `_ENCODED` letter by letter: of escapes only those of letters that base64 has, so that a form whose value
# is JSON is no picture; of lines only long ones, so that a list of numbers is none.
_LETTER: Final = rb"(?:[A-Za-z0-9+/=_-]|%(?:25){0,3}+(?:2[BbFf]|3[Dd])|\\{1,4}+(?:/|u00(?:2[bBfF]|3[dD])))"
_BREAK: Final = rb"(?:\r?\n[ \t]*+|(?:\\{1,4}+r)?\\{1,4}+n|(?:%(?:25){0,3}+0[Dd])?%(?:25){0,3}+0[Aa])"
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
_BEGINNING_IN_LOWER: Final = re.compile(rb"/9j/|ivborw0kgg|ffd8ff|89504e47")
_MAGIC: Final = re.compile(rb"\xff\xd8\xff|\x89PNG\r?\n|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0\0\0\0|.{4}ftyp", re.DOTALL)
_CONTROL: Final = bytes(each for each in range(32) if each not in b"\t\n\v\f\r\x1b") + b"\x7f"
_BINARY: Final = 0.02
"""The part of control characters from which bytes are no text. Compressed data has a tenth, a text has none."""
_FEW: Final = 16
"""So many control characters no picture is made of that shows anything."""
# What stands between two control characters that are near each other belongs to the same picture.
_SPAN: Final = re.compile(
    rb"[\x80-\xff]{0,64}+[%b](?:[^%b]{0,64}+[%b])*+[\x80-\xff]{0,64}+" % ((re.escape(_CONTROL),) * 3), re.DOTALL
)
LARGEST_UNPACKED: Final = 16 << 20
"""Bytes of a compressed body that is unpacked to be looked into."""


class Cut(NamedTuple):
    """Bytes without pictures. `removed` says what was cut out; `is_text` is False where more may have to be."""

    data: bytes
    removed: tuple[str, ...] = ()
    is_text: bool = True


def redact(data: bytes) -> bytes:
    """The bytes without what can be a photograph or a template: long encoded runs, and JPEG and PNG images.

    Each is replaced by its length. The result is never longer.
    """
    for pattern in (_IMAGE, _ENCODED, _BEGINNING):
        data = pattern.sub(_redacted, data)
    return data


def cut(data: bytes, content_type: str = "") -> Cut:
    """The bytes without pictures, and all else as it was.

    Args:
        data: Text in any encoding, or a multipart body with pictures among its parts.
        content_type: The header, empty where there is none.
    """
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        # By its name alone it would be written in another order than it was read.
        order = "-be" if data[:1] in (b"\xfe", b"\0") else "-le"
        with suppress(UnicodeError):
            found = cut(data.decode(encoding[:6] + order).encode(), content_type)
            return found._replace(data=found.data.decode().encode(encoding[:6] + order))
    removed: list[str] = []
    boundary = _boundary(data, content_type)
    if boundary is not None:
        data = _without_parts(data, boundary, removed)

    def replaced(match: re.Match[bytes]) -> bytes:
        if match.re is _RUN and len(match[0]) < _SHORTEST_RUN:
            return match[0]
        return _removed(match[0], "a picture" if match.re is _IMAGE else "encoded data", removed)

    if any(magic in data for magic in (b"\xff\xd8\xff", b"\x89PNG")):
        data = _IMAGE.sub(replaced, data)
    data = b"".join(_RUN.sub(replaced, piece) if is_long else piece for piece, is_long in _pieces(data))
    if _BEGINNING_IN_LOWER.search(data.lower()):
        data = _BEGINNING.sub(replaced, data)
    return Cut(data, tuple(removed), not _is_binary(data))


def without_binary(found: Cut) -> Cut:
    """What is left without all that is no text.

    Args:
        found: What `cut` could not tell.
    """
    removed = list(found.removed)
    return Cut(_SPAN.sub(lambda match: _removed(match[0], "what is no text", removed), found.data), tuple(removed))


def unpacked(data: bytes, content_encoding: str) -> bytes | None:
    """The content of a compressed body; None where it is not compressed, or cannot be unpacked within bounds.

    Args:
        data: The body.
        content_encoding: The header, empty where there is none.
    """
    packed = data.startswith(b"\x1f\x8b") or content_encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
    # 32 more bits of the window: either of the two heads; a negative one: none, as some send it.
    for window in (32 + zlib.MAX_WBITS, -zlib.MAX_WBITS) if packed else ():
        unpacker = zlib.decompressobj(window)
        with suppress(zlib.error):
            content = unpacker.decompress(data, LARGEST_UNPACKED)
            if unpacker.eof and not unpacker.unused_data:
                return content
    return None


def _boundary(data: bytes, content_type: str) -> bytes | None:
    """What stands between the parts of a multipart body; None where it is none."""
    start = data.lstrip()
    if start.startswith(b"--"):
        return start.split(b"\n", 1)[0].strip()[2:] or None
    media_type, options = parse_options_header(content_type)
    return options.get(b"boundary") if media_type.startswith(b"multipart/") else None


def _without_parts(data: bytes, boundary: bytes, removed: list[str]) -> bytes:
    """A multipart body whose parts that are pictures hold their length instead."""
    pieces = re.split(rb"((?:\A|\r?\n)--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?=\r?\n|\Z))", data)
    for place in range(0, len(pieces), 2):
        head = re.match(rb"\r?\n(?:[^\r\n]+\r?\n)*\r?\n", pieces[place])
        content = pieces[place][head.end() :] if head else pieces[place]
        if content and (_MAGIC.match(content) or _is_binary(content)):
            start = pieces[place][: head.end()] if head else b""
            pieces[place] = start + _removed(content, "a picture", removed)
    return b"".join(pieces)


def _is_binary(data: bytes) -> bool:
    controls = len(data) - len(data.translate(None, _CONTROL))
    return controls > _FEW and controls > _BINARY * len(data)


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


def _removed(data: bytes, what: str, removed: list[str]) -> bytes:
    removed.append(f"{what}, {len(data)} bytes")
    note = b"[%d bytes redacted]" % len(data)
    return note if len(note) < len(data) else b""


def _redacted(match: re.Match[bytes]) -> bytes:
    return _removed(match[0], "", [])
