"""The one reader of bodies: JSON, XML, forms and multipart, by push and by pull alike.

It is lenient where a device would otherwise lose a punch: how a body is encoded, labelled or ended does not matter, nor
do what cannot be meant otherwise: a comma too many, a control character, a lone backslash or ampersand. It is strict
where it would have to guess: a name that has two different values is read, and `given_twice` names it.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from types import MappingProxyType
from typing import Final, NoReturn, cast
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element, ParseError

import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from python_multipart.multipart import parse_options_header

from attendance.errors import InvalidRecord, Reason
from producers.devices.common.multipart import read_multipart
from producers.devices.common.punch import invalid
from producers.devices.contract import MAX_EVENTS

_BYTE_ORDER_MARKS_AND_SPACES: Final = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"
_SMALLEST_INTEGER: Final = -(2**63)
_LARGEST_INTEGER: Final = 2**64 - 1
_LONGEST_INTEGER: Final = 20  # characters
_DEEPEST: Final = 32  # a record is nested
_PADDING: Final = "\0 \t\r\n\x1a\ufeff\ufffd"
"""What stands around a document without being part of it: bytes of nothing, and what closes a file of DOS."""

# A string, which is passed over, or a comma before a closing bracket. A string that does not end reaches to the end of
# the text, or each quotation mark in it would be tried as the beginning of another.
_STRING_OR_LAST_COMMA: Final = re.compile(r'("(?:[^"\\]|\\.?)*+(?:"|\Z))|,(?=\s*+[}\]])', re.DOTALL)
_NO_BYTES: Final = b"\0 \t\r\n\x1a"
_BETWEEN: Final = re.compile(r"[\0 \t\r\n,\ufeff]*")
_ESCAPE: Final = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_XML_ENCODING: Final = re.compile(
    rb"""\s*<\?xml[^>]{0,100}encoding\s*=\s*["']((?:gb|big5|euc|iso|latin|windows|cp|shift|koi8)[\w-]{0,20})""",
    re.IGNORECASE,
)
_XML_DECLARATION: Final = re.compile(rb"(?=<\?xml\s)")
_NOT_IN_XML: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NO_REFERENCE: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")


class Ambiguous(dict[str, object]):
    """Fields of which some were given different values. Only the last value of each is here; `others` has the rest."""

    def __init__(
        self,
        fields: dict[str, object],
        names: Collection[str],
        others: Mapping[str, Sequence[object]] = MappingProxyType({}),
    ) -> None:
        super().__init__(fields)
        self.names = frozenset(names)
        self.others = others


def given_twice(fields: object, names: Collection[str]) -> Sequence[str]:
    """Those of the names to which the fields give different values.

    Args:
        fields: What a function of this module returned, or any part of it.
        names: The names that decide what the fields mean.
    """
    return sorted(fields.names.intersection(names)) if isinstance(fields, Ambiguous) else ()


def check_unambiguous(fields: object, names: Collection[str]) -> None:
    """Accept fields that give none of these names different values.

    Args:
        fields: What a function of this module returned, or any part of it.
        names: The names that decide what the fields mean.

    Raises:
        InvalidRecord: they give one different values (`invalid_event`).
    """
    if isinstance(fields, Ambiguous) and (ambiguous := given_twice(fields, names)):
        raise invalid(f"{', '.join(ambiguous)} is given twice")


def read_query(query: str) -> dict[str, str]:
    """What the query of a request says; a name with different values is one that `given_twice` names.

    Args:
        query: As it stands behind the question mark.
    """
    return cast("dict[str, str]", _fields(parse_qsl(query, keep_blank_values=True))) if query else {}


def filled(fields: Mapping[str, object], beside: Mapping[str, object]) -> dict[str, object]:
    """The fields, filled up by those that stand beside them. `given_twice` knows what it knew of either.

    Args:
        fields: Those that count.
        beside: Those that count where the others have no such name.
    """
    names = {*given_twice(fields, fields), *(name for name in given_twice(beside, beside) if name not in fields)}
    both = {**beside, **fields}
    return Ambiguous(both, names) if names else both


def read_body(content_type: str, body: bytes, most: int = MAX_EVENTS) -> object:
    """What a body says: JSON or XML by its first character, else a form. The media type counts for a form alone.

    Files in a multipart form are passed over.

    Args:
        content_type: The header, empty where there is none.
        body: The whole body.
        most: Parts that a form may have.

    Returns:
        JSON as `read_json` has it; XML and forms as a dict of fields.

    Raises:
        InvalidRecord: it is none of these (`unreadable_body`), or a form of too many parts (`body_too_large`).
    """
    if _first(body) in (b"{", b"[", b"<"):
        return read_document(body)
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        form = read_multipart(body, options.get(b"boundary"), most)
        if not form.complete:
            raise _unreadable("the form breaks off")
        return _fields((each.name, each.content.decode(errors="replace")) for each in form.parts if not each.is_file)
    if b"=" in body:
        try:
            return _fields(parse_qsl(body.strip().decode(errors="replace"), keep_blank_values=True))
        except ValueError as error:
            raise _unreadable(f"not a form: {error}") from error
    raise _unreadable("neither JSON nor XML nor a form")


def read_document(body: bytes) -> object:
    """What a JSON or XML document says, by its first character.

    Raises:
        InvalidRecord: it is neither (`unreadable_body`).
    """
    return xml_fields(read_xml(body)) if _first(body) == b"<" else read_json(body)


def read_records(body: bytes, wrapper: str, most: int = MAX_EVENTS) -> Sequence[object]:
    """The records of JSON or XML documents, each of which is one of them, or holds one or a list of them.

    Args:
        body: A document, or several one after the other.
        wrapper: The name under which some write a record, or several.
        most: Documents of JSON that there may be.

    Raises:
        InvalidRecord: it is neither, or gives the wrapper different values (`unreadable_body`).
    """
    if _first(body) == b"<":
        roots = [read_xml(each) for each in _XML_DECLARATION.split(body) if each.strip()]
        wrapped = [each for root in roots for each in root if _local_name(each) == wrapper]
        return [xml_fields(each) for each in wrapped or roots]
    records: list[object] = []
    for content in _json_values(body, most):
        if given_twice(content, {wrapper}):
            raise _unreadable(f"{wrapper} is given twice")
        inner = content.get(wrapper, content) if isinstance(content, dict) else content
        each_of = inner if isinstance(inner, list) else [inner]
        records += [each.get(wrapper, each) if isinstance(each, dict) else each for each in each_of]
    return records


def read_json(body: bytes) -> object:
    """What a JSON document says, in UTF-8, UTF-16 or UTF-32. Bytes that are none of it are replaced by U+FFFD.

    Integers that take more than 64 bits are strings. Control characters and lone backslashes in strings, a comma after
    the last of a list or of an object's fields, and what is no text at the end are passed over.

    Raises:
        InvalidRecord: it is no JSON (`unreadable_body`). Neither are NaN and half of a surrogate pair.
    """
    values = _json_values(body)
    if len(values) != 1:
        raise _unreadable("not JSON: several documents")
    return values[0]


def _json_values(body: bytes, most: int = MAX_EVENTS) -> Sequence[object]:
    """What the JSON documents of a body say, of which most have one. See `read_json`."""
    try:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _lenient_json(body, most)
        # Faster by far, and silent about what it leaves out.
        if _quotation_marks(value) == body.count(b'"'):
            return [value]
        return [json.loads(body, object_pairs_hook=_fields, parse_int=_integer)]
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"not JSON: {error}") from error


def write_record(record: object) -> bytes:
    """A record as `Rejected.raw` has it: JSON that `read_json` makes the same record of, ambiguous names included.

    What is nested deeper than any punch is, and than JSON can be written, is null.

    Args:
        record: What a function of this module returned, a part of it, or the row of a database.
    """
    try:
        return orjson.dumps(record, _in_json, orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        shallow = _shallow(record, _DEEPEST)
        if shallow == record:
            raise
        return write_record(shallow)


def _shallow(value: object, deepest: int) -> object:
    if not isinstance(value, dict | list):
        return value
    if not deepest:
        return None
    if isinstance(value, list):
        return [_shallow(each, deepest - 1) for each in value]
    fields = {name: _shallow(each, deepest - 1) for name, each in value.items()}
    return Ambiguous(fields, value.names) if isinstance(value, Ambiguous) else fields


def _in_json(value: object) -> object:
    if not isinstance(value, Ambiguous):
        return value.hex() if isinstance(value, bytes) else str(value)
    # A name that was given different values is given different values again.
    pairs = [
        (name, each)
        for name in sorted(value.names)
        for each in value.others.get(name) or [0 if value.get(name) is None else None]
    ]
    members = (orjson.dumps(name) + b":" + write_record(each) for name, each in (*pairs, *value.items()))
    return orjson.Fragment(b"{" + b",".join(members) + b"}")


def read_xml(body: bytes) -> Element:
    """The root element of an XML document, in the encoding that it has, whichever it declares.

    Bytes that are none of it, and characters that XML has no room for, are replaced by U+FFFD. An ampersand that begins
    no reference is one. What stands around the document is passed over.

    Raises:
        InvalidRecord: it is no XML, is cut off, or declares entities, which no device needs (`unreadable_body`).
    """
    try:
        try:
            root: Element = fromstring(body.strip(), forbid_dtd=True)
        except (ParseError, LookupError, ValueError) as error:
            if isinstance(error, DefusedXmlException):
                raise
            root = fromstring(_lenient_xml(body), forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise _unreadable(f"not plain XML: {error}") from error
    return root


def xml_fields(root: Element) -> dict[str, object]:
    """The texts of the elements under the root, by name without namespace.

    An element that holds others is a dict of those that hold none.
    """
    return _fields((_local_name(child), _leaves(child) or _text(child)) for child in root)


def _first(body: bytes) -> bytes:
    """The first character, whichever Unicode encoding the body has."""
    return body.lstrip(_BYTE_ORDER_MARKS_AND_SPACES)[:1]


def _quotation_marks(value: object) -> int:
    """How many quotation marks the JSON of a value has at least; -1 where an integer in it may have been rounded.

    A body has more of them where a name stands in it twice, of which one is not in the value, and where strings have
    quotation marks of their own.
    """
    strings = 0
    groups: list[Iterable[object]] = [[value]]
    while groups:
        for each in groups.pop():
            if isinstance(each, str):
                strings += 1
            elif isinstance(each, dict):
                strings += len(each)
                groups.append(each.values())
            elif isinstance(each, list):
                groups.append(each)
            elif isinstance(each, float) and not _SMALLEST_INTEGER < each < _LARGEST_INTEGER:
                return -1
    return 2 * strings


def _lenient_json(body: bytes, most: int) -> Sequence[object]:
    """The documents of a body that is not quite JSON. Raises ValueError or RecursionError."""
    encoding, body = _encoding(body)
    text = body.decode(encoding, errors="replace")
    try:
        return _values(text, most)
    except ValueError:
        if encoding != "utf-8" or "\ufffd" not in text:
            raise
        # In Chinese, Japanese and Korean encodings, the second byte of a character may be a backslash.
        return _values(_NOT_ASCII.sub("\ufffd", body.decode("gb18030", errors="replace")), most)


def _encoding(body: bytes) -> tuple[str, bytes]:
    """The Unicode encoding of a document, by the zeros in its first characters, and the document without others."""
    without = body.strip(_NO_BYTES)
    if b"\0" not in without[:4]:
        body = without
    return json.detect_encoding(body), body


def _values(text: str, most: int) -> Sequence[object]:
    text = _STRING_OR_LAST_COMMA.sub(_mended, text).strip(_PADDING)
    values: list[object] = []
    at = 0
    while at < len(text):
        value, end = _DECODER.raw_decode(text, at)
        try:
            orjson.dumps(value)  # json takes half of a surrogate pair, and any depth
        except orjson.JSONEncodeError as error:
            raise ValueError(str(error)) from error
        values.append(value)
        at = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
        if at == len(text) or (text[end] == "\0" and text.find("{", end) < 0):  # the rest of a buffer
            return values
        if text[at] not in "{[" or len(values) > most:
            raise ValueError(f"data after the document, at character {at}")
    raise ValueError("no document")


def _mended(found: re.Match[str]) -> str:
    """A string in which every backslash escapes something; nothing for a comma too many."""
    string = found[1] or ""
    return _ESCAPE.sub(lambda escape: escape[0] if escape[1] else r"\\", string) if "\\" in string else string


def _lenient_xml(body: bytes) -> str:
    """The text of a body that is not quite XML. Its declaration of an encoding does not count any more."""
    encoding, body = _encoding(body)
    text = body.decode(encoding, errors="replace")
    declared = _XML_ENCODING.match(body)
    if "\ufffd" in text and declared:
        with suppress(LookupError, UnicodeError):
            text = body.decode(declared[1].decode())
    text = _NOT_IN_XML.sub("\ufffd", text[text.find("<") : text.rfind(">") + 1])
    return text if "<![CDATA[" in text else _NO_REFERENCE.sub("&amp;", text)


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        _no_number(digits)
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:32]} is no number")


def _integer(digits: str) -> int | str:
    if len(digits) > _LONGEST_INTEGER:
        _float(digits)
        return digits
    number = int(digits)
    return number if _SMALLEST_INTEGER <= number <= _LARGEST_INTEGER else digits


def _fields(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    pairs = list(pairs)
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    others: dict[str, list[object]] = {}
    for name, value in pairs:
        if fields[name] != value:
            others.setdefault(name, []).append(value)
    return Ambiguous(fields, others, others) if others else fields


def _leaves(element: Element) -> dict[str, object]:
    """The texts of the elements under this one that hold no others."""
    return _fields((_local_name(leaf), _text(leaf)) for leaf in element if not len(leaf))


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _unreadable(message: str) -> InvalidRecord:
    return InvalidRecord(Reason.UNREADABLE_BODY, message)


_DECODER: Final = json.JSONDecoder(
    strict=False, object_pairs_hook=_fields, parse_int=_integer, parse_float=_float, parse_constant=_no_number
)
