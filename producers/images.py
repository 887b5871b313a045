"""Images in bytes: where each begins, and where it ends."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

BEGINNING: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r?\n|GIF8[79]a(?=.{0,6}[\x00-\x08\x80-\xff])|RIFF.{4}WEBP|BM.{4}\0\0\0\0"
    rb"|II\*\0|MM\0\*|\0\0\0.ftyp(?:hei|avi|mif)",
    re.DOTALL,
)
"""How a JPEG, a PNG, a GIF, a WebP, a BMP, a TIFF and a HEIF begin."""

# A part of a multipart body ends with the next boundary.
_NEXT: Final = re.compile(rb"\r?\n--|\Z")
_BINARY: Final = re.compile(rb"(?:[^\x00-\x08\x0e-\x1f\x7f-\xff]{0,64}+[\x00-\x08\x0e-\x1f\x7f-\xff])*+")
_PNG_END: Final = b"IEND"
_MARKER: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def images(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each image in the data begins and ends.

    One whose own words do not say where it ends, because it is cut off or damaged, ends where text begins again; a JPEG
    and a PNG with the part that they are in.

    Args:
        data: Anything.
    """
    place = 0
    while (found := BEGINNING.search(data, place)) is not None:
        start = found.start()
        end = _end(data, start)
        if end is None:
            if found[0].startswith((b"\xff\xd8", b"\x89PNG")):
                end = _NEXT.search(data, found.end()).start()  # type: ignore[union-attr]
            else:
                end = _BINARY.match(data, found.end()).end()  # type: ignore[union-attr]
        yield start, end
        place = end


def _end(data: bytes, start: int) -> int | None:
    for magic, end_of in _ENDS.items():
        if data.startswith(magic, start):
            end = end_of(data, start)
            return end if end is not None and start < end <= len(data) else None
    return None


def _png(data: bytes, start: int) -> int | None:
    place = start + 8
    while place + 12 <= len(data):
        kind = data[place + 4 : place + 8]
        if not kind.isalpha():
            return None
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        if kind == _PNG_END:
            return place
    return None


def _jpeg(data: bytes, start: int) -> int | None:
    place = start + 2
    while (found := _MARKER.match(data, place)) is not None:
        marker = data[found.end() - 1]
        if marker == 0xD9:
            return found.end()
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        if length < 2:
            return None
        place = found.end() + length
        if marker == 0xDA:
            following = _MARKER.search(data, place)
            if following is None:
                return None
            place = following.start()
    return None


def _gif(data: bytes, start: int) -> int | None:
    place = start + 13
    if place > len(data):
        return None
    place += _colours(data[start + 10])
    while place < len(data):
        kind = data[place]
        if kind == 0x3B:
            return place + 1
        if kind == 0x21:
            place += 2
        elif kind == 0x2C and place + 10 <= len(data):
            place += 10 + _colours(data[place + 9]) + 1
        else:
            return None
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    return None


def _colours(packed: int) -> int:
    """Bytes of a table of colours."""
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _webp(data: bytes, start: int) -> int | None:
    length = int.from_bytes(data[start + 4 : start + 8], "little")
    return start + 8 + length + (length & 1) if length >= 4 else None


def _bmp(data: bytes, start: int) -> int | None:
    length = int.from_bytes(data[start + 2 : start + 6], "little")
    return start + length if length > 26 else None


_ENDS: Final[Mapping[bytes, Callable[[bytes, int], int | None]]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"GIF8": _gif,
    b"RIFF": _webp,
    b"BM": _bmp,
}
