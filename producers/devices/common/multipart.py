"""The one reader of multipart bodies, by push and by pull alike.

Terminals write them by hand: with LF alone, a boundary twice, a header that is none, no end. A parser that keeps to the
standard stops at the first of these and loses every part that follows, so this one looks for boundaries alone.
"""

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from python_multipart.multipart import parse_options_header

from attendance.errors import InvalidRecord, Reason
from producers.devices.contract import MAX_EVENTS

_LINE_ENDS: Final = b"\r\n"
BEFORE_BODY: Final = b" \t\r\n\0\xef\xbb\xbf"
"""What may stand before the first boundary and says nothing, a byte order mark included."""
_LONGEST_LINE: Final = 1_000
"""Bytes of a header's line, at most."""
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:(.*)", re.DOTALL)
_DOCUMENT: Final = (b"{", b"[", b"<")
_DOCUMENT_LINE: Final = re.compile(rb"[ \t\xef\xbb\xbf]*[{\[<]")
_BEGINNINGS: Final = (b"Content-", *_DOCUMENT)
_TEXT: Final = re.compile(rb"[\t -~]*")
_DECODERS: Final[dict[bytes, Callable[[bytes], bytes]]] = {b"base64": a2b_base64, b"quoted-printable": a2b_qp}
_MEDIA: Final = (b"image/", b"video/", b"audio/")
_PICTURE_NAMES: Final = (b".jpg", b".jpeg", b".png", b".bmp", b".gif", b".webp")
_SIGNATURES: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|BM....\0\0\0\0|II\*\0|MM\0\*|RIFF....WEBP|....ftyp|\0\0\0\x0cj|\xff\x0a|\xffO\xffQ",
    re.DOTALL,
)
"""How files of pictures begin: JPEG, PNG, GIF, BMP, TIFF, WebP, HEIC and AVIF, JPEG 2000 and XL."""

_CUT_OUT: Final = re.compile(rb"\s*\[[0-9]+ bytes redacted\]\s*")
"""What stands for a picture in a request that was kept to be read again."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body. `name` is empty where the part has none; `is_picture` is true of any media."""

    name: str
    is_file: bool
    is_picture: bool
    content: bytes


@dataclass(frozen=True, slots=True)
class Multipart:
    """The parts of a body in their order. Where it is not `complete`, it broke off, and the last part may be cut."""

    parts: Sequence[Part]
    complete: bool


def parts_of(content_type: str, body: bytes, most: int = MAX_EVENTS) -> Multipart | None:
    """The parts of a body, by the boundary that it begins with or that the header names; None where it has none.

    Some firmware leaves the boundary out of the header, or the first or the last one out of the body.

    Args:
        content_type: The header, empty where there is none.
        body: The whole body.
        most: Parts that it may have.

    Raises:
        InvalidRecord: as `read_multipart`.
    """
    body = body.lstrip(BEFORE_BODY)
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not body.startswith(b"--") and not (boundary and b"--" + boundary in body):
        return None
    return read_multipart(body, boundary, most)


def read_multipart(body: bytes, boundary: bytes | None = None, most: int = MAX_EVENTS) -> Multipart:
    """The parts of a multipart body, as far as it goes. A part without a byte is none.

    Args:
        body: The whole body.
        boundary: What the header says. It counts only where the body does not begin with its own.
        most: Parts that it may have.

    Raises:
        InvalidRecord: it has no part (`unreadable_body`), or too many (`body_too_large`).
    """
    body = body.lstrip(BEFORE_BODY)
    if body.startswith(b"--"):
        boundary = body.split(b"\n", 1)[0].strip()[2:]
    if not boundary:
        raise InvalidRecord(Reason.UNREADABLE_BODY, "a multipart body without a boundary")
    parts: list[Part] = []
    begin, is_between = 0, True
    for start, end, is_last in _delimiters(body, b"--" + boundary):
        _add(parts, body[begin:start], most, is_between=is_between)
        begin, is_between = end, is_last
    _add(parts, body[begin:], most, is_between=is_between)
    if not parts:
        raise InvalidRecord(Reason.UNREADABLE_BODY, "not multipart: it has no part")
    return Multipart(parts, is_between)


def _add(parts: list[Part], written: bytes, most: int, *, is_between: bool) -> None:
    """What is before the first boundary or after the last says nothing, unless a boundary is wrong there."""
    if written.strip() and (not is_between or written.startswith(_BEGINNINGS)):
        parts.append(_part(written))
    if len(parts) > most:
        raise InvalidRecord(Reason.BODY_TOO_LARGE, f"more than {most} parts")


def _delimiters(body: bytes, line: bytes) -> Iterator[tuple[int, int, bool]]:
    """Each line that is a boundary: where what is before it ends, where what follows begins, whether it is the last."""
    found = -1
    while (found := body.find(line, found + 1)) >= 0:
        if found and body[found - 1] not in _LINE_ENDS:
            continue  # in the middle of a line, so of a part
        after = found + len(line)
        line_end = body.find(b"\n", after, after + _LONGEST_LINE)
        line_end = min(len(body), after + _LONGEST_LINE) if line_end < 0 else line_end
        rest = body[after:line_end].strip(b" \t\r\0")
        if rest not in (b"", b"--"):
            continue  # a picture's bytes, or a longer boundary
        before = 2 if body[max(0, found - 2) : found] == b"\r\n" else min(found, 1)
        yield found - before, min(len(body), line_end + 1), rest == b"--"


def _part(written: bytes) -> Part:
    """A part from what stands between two boundaries."""
    headers, content = _split(written)
    _, options = parse_options_header(headers.get(b"content-disposition"))
    decode = _DECODERS.get(headers.get(b"content-transfer-encoding", b"").lower())
    if decode is not None:
        with suppress(ValueError):  # it was not encoded after all
            content = decode(content)
    media_type = headers.get(b"content-type", b"").lower()
    file_name = options.get(b"filename")
    is_media = media_type.startswith(_MEDIA) or (file_name or b"").lower().endswith(_PICTURE_NAMES)
    return Part(
        name=options.get(b"name", b"").decode(errors="replace"),
        is_file=file_name is not None,
        is_picture=bool(
            _SIGNATURES.match(content)
            or _CUT_OUT.fullmatch(content)
            or (is_media and not content.lstrip().startswith(_DOCUMENT))
        ),
        content=content,
    )


def _split(written: bytes) -> tuple[Mapping[bytes, bytes], bytes]:
    """The headers of a part, and its content.

    A line that is no header is passed over where an empty line follows the headers, or a document; otherwise the
    content begins with it.
    """
    headers: dict[bytes, bytes] = {}
    at, no_header = 0, len(written)
    while not _DOCUMENT_LINE.match(written, at):
        end = written.find(b"\n", at, at + _LONGEST_LINE)
        line = written[at:end].strip(b" \t\r")
        if end >= 0 and not line:
            return headers, written[end + 1 :]
        header = _HEADER.fullmatch(line)
        if end < 0 or (header is None and not _TEXT.fullmatch(line)):
            return headers, written[min(at, no_header) :]
        if header is None:
            no_header = min(at, no_header)
        else:
            headers[header[1].lower()] = header[2].strip()
        at = end + 1
    return headers, written[at:]
