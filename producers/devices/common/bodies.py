"""From a request's body to the fields in it, for devices that are not strict about how they write one."""

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from attendance.errors import InvalidRecord, Reason

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_INTEGER: Final = 18  # digits; what is longer does not fit everywhere and is kept as it was written


class Fields(dict[str, object]):
    """An object's or a form's fields.

    `twice` are the names that it gives different values, so that any of them may be meant; only the last is here.
    """

    twice: frozenset[str] = frozenset()


def read_body(content_type: str, body: bytes) -> object:
    """What a body says: JSON by its first character, whatever its type, else a form. Objects and forms are `Fields`.

    Bytes that are no UTF-8 are replaced by U+FFFD. Files in a multipart form are passed over.

    Raises:
        InvalidRecord: it is none of these (`unreadable_body`).
    """
    text = body.removeprefix(_BOM).strip()
    if text[:1] in (b"{", b"["):
        return read_json(body)
    try:
        media_type, options = parse_options_header(content_type)
        if media_type == b"multipart/form-data":
            return _fields(_parts(body, options.get(b"boundary")))
        if b"=" in text:
            return _fields(parse_qsl(text.decode(errors="replace"), keep_blank_values=True))
    except ValueError as error:
        raise _unreadable(f"not a form: {error}") from error
    raise _unreadable("neither JSON nor a form")


def read_json(body: bytes) -> object:
    """What a JSON body says. Objects are `Fields`; integers too long for most programs are strings.

    Raises:
        InvalidRecord: it is none (`unreadable_body`).
    """
    text = body.removeprefix(_BOM).decode(errors="replace")
    try:
        # Strict where json is not: neither NaN nor half of a surrogate pair, and not nested without end.
        orjson.loads(text)
        return json.loads(text, object_pairs_hook=_fields, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"not JSON: {error}") from error


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else digits


def _fields(pairs: Iterable[tuple[str, object]]) -> Fields:
    fields = Fields()
    for name, value in pairs:
        if name in fields and fields[name] != value:
            fields.twice |= {name}
        fields[name] = value
    return fields


def _parts(body: bytes, boundary: bytes | None) -> list[tuple[str, object]]:
    """The fields of a multipart form that are no files.

    Raises:
        ValueError: it breaks off, or is none.
    """
    found: list[tuple[str, object]] = []
    ended: list[bool] = []

    def keep(field: Field) -> None:
        found.append(
            ((field.field_name or b"").decode(errors="replace"), (field.value or b"").decode(errors="replace"))
        )

    def drop(file: File) -> None:
        file.close()

    if boundary is None:
        raise FormParserError("no boundary")
    parser = FormParser(
        "multipart/form-data",
        keep,
        drop,
        on_end=lambda: ended.append(True),
        boundary=boundary,
        # The body is in memory, and what it holds must not reach a disk.
        config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
    )
    parser.write(body)
    parser.finalize()
    if not ended:
        raise FormParserError("it breaks off")
    return found


def _unreadable(message: str) -> InvalidRecord:
    return InvalidRecord(Reason.UNREADABLE_BODY, message)
