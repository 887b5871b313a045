"""Finds photographs and templates in bytes of any form, and cuts them out.

`redact` is for what is only to be looked at, and cuts in doubt. `cut` is for what is to be read again: it takes no
text for a picture, and says what it could not tell.
"""

import json
import re
import zlib
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from python_multipart.multipart import parse_options_header

from producers.encodings import cut_encoded
from producers.images import BEGINNING, images
from producers.runs import ENCODED_BEGINNING, cut_runs

# Base64, base64url and hex, also broken into lines or escaped for JSON or a form. The look-behind keeps the search
# linear: a run that is too short is looked at once and not again from each of its characters.
_ENCODED: Final = re.compile(rb"(?<![A-Za-z0-9+/=_\\%\r\n-])[A-Za-z0-9+/=_\\%\r\n-]{128,}")

_CONTROL: Final = bytes(each for each in range(32) if each not in b"\t\n\v\f\r\x1b") + b"\x7f"
_BINARY: Final = 0.02
"""The part of control characters from which bytes are no text. Compressed data has a tenth, a text has none."""
_FEW: Final = 16
"""So many control characters no picture is made of that shows anything."""
# What stands between two control characters that are near each other belongs to the same picture.
_SPAN: Final = re.compile(
    rb"[\x80-\xff]{0,64}+[%b](?:[^%b]{0,64}+[%b])*+[\x80-\xff]{0,64}+" % ((re.escape(_CONTROL),) * 3), re.DOTALL
)
# All that adapters keep of a record is short, and of a dead letter there may be thousands at once.
_WORTH_A_LOOK: Final = re.compile(rb"[^ -~]|[^\"]{32}")
_SHORTEST_OF_ALL: Final = 64
"""Bytes that a picture or template has at least, in any form."""
LARGEST_UNPACKED: Final = 16 << 20
"""Bytes of a compressed body that is unpacked to be looked into."""


class Cut(NamedTuple):
    """Bytes without pictures. `removed` says what was cut out; `is_text` is False where more may have to be."""

    data: bytes
    removed: tuple[str, ...] = ()
    is_text: bool = True


def redact(data: bytes) -> bytes:
    """The bytes without what can be a photograph or a template, in any form, and without what is no text.

    Each is replaced by its length. The result is never longer.
    """
    if _WORTH_A_LOOK.search(data) or data.count(b'"') >= _SHORTEST_OF_ALL:
        found = cut(data)
        data = found.data if found.is_text else without_binary(found).data
        data = _ENCODED.sub(_redacted, without_images(data, []))
    return ENCODED_BEGINNING.sub(_redacted, data)


def without_images(data: bytes, removed: list[str]) -> bytes:
    """The bytes without the images in them, each of which is replaced by its length.

    Args:
        data: Anything.
        removed: Takes a line for each.
    """
    if BEGINNING.search(data) is None:
        return data
    pieces, end = [], 0
    for start, after in images(data):
        pieces += [data[end:start], _removed(data[start:after], "a picture", removed)]
        end = after
    return b"".join([*pieces, data[end:]])


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
    data = without_images(data, removed)
    if _is_binary(data):
        return Cut(cut_runs(data, partial(_removed, removed=removed)), tuple(removed), is_text=False)
    return Cut(cut_encoded(data, partial(_removed, removed=removed)), tuple(removed))


def without_binary(found: Cut) -> Cut:
    """What is left without all that is no text.

    Args:
        found: What `cut` could not tell.
    """
    removed = list(found.removed)
    data = _SPAN.sub(lambda match: _removed(match[0], "what is no text", removed), found.data)
    return Cut(cut_encoded(data, partial(_removed, removed=removed)), tuple(removed))


def unpacked(data: bytes, content_encoding: str) -> bytes | None:
    """The content of a compressed body; None where it is not compressed, or cannot be unpacked within bounds.

    Args:
        data: The body.
        content_encoding: The header, empty where there is none.
    """
    packed = data.startswith((b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"))
    packed = packed or content_encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
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
        if content and (BEGINNING.match(content) or _is_binary(content)):
            start = pieces[place][: head.end()] if head else b""
            pieces[place] = start + _removed(content, "a picture", removed)
    return b"".join(pieces)


def _is_binary(data: bytes) -> bool:
    controls = len(data) - len(data.translate(None, _CONTROL))
    return controls > _FEW and controls > _BINARY * len(data)


def _removed(data: bytes, what: str, removed: list[str]) -> bytes:
    removed.append(f"{what}, {len(data)} bytes")
    return length_of(data)


def length_of(data: bytes) -> bytes:
    """What stands in the place of what is cut out: its length, or nothing if that is not shorter.

    Args:
        data: What is cut out.
    """
    note = b"[%d bytes redacted]" % len(data)
    return note if len(note) < len(data) else b""


def _redacted(match: re.Match[bytes]) -> bytes:
    return _removed(match[0], "", [])
