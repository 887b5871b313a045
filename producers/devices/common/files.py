"""What the adapters that read files have in common."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import charset_normalizer

from attendance.errors import InvalidRecord, UnreadableFile
from attendance.wire import encode_json
from producers.devices.common.listed import LEFT_OUT
from producers.devices.common.punch import MAX_TEXT
from producers.devices.contract import Rejected

LONGEST_LINE: Final = 65_536  # bytes or characters; a line of a log of punches has some hundred
_BATCH_DIGITS: Final = 16
_GUESSED_BY: Final = 65_536  # bytes
_BYTE_ORDER_MARKS: Final = {BOM_UTF8: "utf-8-sig", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
_CODE_PAGES: Final = ("cp1252", "cp1256", "gb18030")
_PADDING: Final = "\0\x1a"
"""What programs fill the end of a file up with."""
_NO_WORDS: Final = re.compile(r"[\d\s:./,+-]*")


def batch_id(path: Path) -> str:
    """What tells a file's content from every other: the begin of its SHA-256.

    Raises:
        UnreadableFile: it cannot be read.
    """
    digest = sha256()
    for chunk in chunks(path):
        digest.update(chunk)
    return digest.hexdigest()[:_BATCH_DIGITS]


def chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes, in bounded memory.

    Raises:
        UnreadableFile: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk
    except OSError as error:
        raise UnreadableFile(f"{path.name}: {error.strerror}") from error


def lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """A file's lines with their numbers, counted from 1; without their ends, whichever those are.

    NUL bytes at the end of the file are no part of it: a terminal reserves room on a stick before it writes.

    Args:
        path: The file.
        encoding: As `encoding_of` has it.

    Raises:
        UnreadableFile: it cannot be read or decoded, a line is longer than any can be, or NUL bytes stand where lines
            are lost.
    """
    number, is_padded = 0, False
    # What a code page lacks stands in a name, which is not kept; a file in a Unicode encoding that breaks is broken.
    errors = "strict" if encoding.startswith("utf") else "replace"
    try:
        with path.open(encoding=encoding, errors=errors) as file:
            while line := file.readline(LONGEST_LINE):
                if is_padded:
                    if line.strip(_PADDING + "\r\n"):
                        raise UnreadableFile(
                            f"{path.name}, after line {number}: broken, NUL bytes stand among its lines"
                        )
                    continue
                if "\0" in line or "\x1a" in line:
                    is_padded = True
                    line = line.rstrip(_PADDING)
                    if "\0" in line:
                        raise UnreadableFile(f"{path.name}, line {number + 1}: broken, NUL bytes stand within it")
                    if not line:
                        continue
                number += 1
                if len(line) == LONGEST_LINE:
                    raise UnreadableFile(f"{path.name}, line {number}: longer than any line of punches")
                yield number, line.removesuffix("\n")
    except OSError as error:
        raise UnreadableFile(f"{path.name}: {error.strerror}") from error
    except UnicodeError as error:
        raise UnreadableFile(f"{path.name}, after line {number}: not {encoding}") from error


def encoding_of(path: Path) -> str:
    """How a file's text is encoded, which the whole of it decides.

    Raises:
        UnreadableFile: it cannot be read, or is no text.
    """
    head = next(chunks(path), b"")
    for bom, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(bom):
            return encoding
    if b"\0" in head.rstrip(b"\0"):
        # UTF-16 without a byte order mark has it in every other place, for what is not a letter of a name.
        odd, even = head[1:512:2].count(0), head[:512:2].count(0)
        if max(odd, even) > len(head[:512]) // 3:
            return "utf-16-le" if odd > even else "utf-16-be"
        raise UnreadableFile(f"{path.name}: binary, not lines of text")
    decoder = getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        # Only headers and words such as "Check In" are read by it; names are not kept.
        guess = charset_normalizer.from_bytes(head[:_GUESSED_BY], cp_isolation=list(_CODE_PAGES)).best()
        return "cp1252" if guess is None else guess.encoding
    return "utf-8"


def rejected(line: int, error: InvalidRecord, cells: Sequence[object]) -> Rejected:
    """A row that can be no punch, without the cells that may hold a name: those with any letter.

    Args:
        line: The number of the row, from 1.
        error: Why.
        cells: Those of its cells that are kept, and `LEFT_OUT` for the others.
    """
    kept = [
        cell[:MAX_TEXT] if isinstance(cell, str) and cell != LEFT_OUT and _NO_WORDS.fullmatch(cell) else None
        for cell in cells
    ]
    return Rejected(line - 1, error.reason, error.message, encode_json(kept))
