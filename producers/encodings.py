"""Cuts pictures and templates out of text, in whichever documents they stand: JSON, XML, a form, one within the other.

A value is looked at as it is meant, without the escapes of the document that it is in, and the rest as it stands.
"""

import json
import re
from html import escape, unescape
from typing import Final
from urllib.parse import quote_plus, unquote_plus

from producers.runs import Removed, cut_runs
from producers.shapes import SHORTEST, cut_shapes, is_dense, is_no_text

_DEEPEST: Final = 6
"""Documents within documents that are looked into; what is deeper is cut out as a whole."""

# A string of JSON; one that does not end reaches to the end, or each mark in it would be tried as another's beginning.
_STRING: Final = re.compile(rb'"((?:[^"\\]|\\.?+)*+)(?:"|\Z)', re.DOTALL)
# Without it no string is long: what stands between two marks, one of which may be escaped.
_LONG: Final = re.compile(rb'"[^"]{%d}|\\"' % SHORTEST)
_ELEMENT: Final = re.compile(rb"(>)([^<>]{%d,}+)(?=<)" % SHORTEST)
_DATA: Final = re.compile(rb"(<!\[CDATA\[)(.{%d,}?)(?=\]\]>|\Z)" % SHORTEST, re.DOTALL)
# Where no document is, base85 may have quotation marks.
_WITHOUT_DOCUMENT: Final = re.compile(rb"[!-~]{%d,}+" % SHORTEST)
_OF_A_DOCUMENT: Final = re.compile(rb'"[\w .-]{0,60}\\*":|[{\[,]\\*"[\w .-]{0,60}\\*"|</?[A-Za-z][\w:.-]*+>')


def cut_encoded(data: bytes, removed: Removed, deep: int = 0) -> bytes:
    """The text without what can be a picture or a template.

    Args:
        data: Text in UTF-8, or in an encoding that has ASCII as it does.
        removed: Called for each that is cut out.
        deep: How many documents this one is within.
    """
    data = cut_runs(_form(data, removed, deep), removed)
    if len(data) < SHORTEST:
        return data
    if deep > _DEEPEST:
        return removed(data, "what is too deep")
    is_document = _OF_A_DOCUMENT.search(data) is not None
    if not is_document:
        data = _WITHOUT_DOCUMENT.sub(lambda match: _dense(match[0], removed), data)
    if b"<" in data:
        data = _DATA.sub(lambda match: match[1] + _value(match[2], match[2], removed, deep), data)
        data = _ELEMENT.sub(lambda match: match[1] + _element(match[2], removed, deep), data)
    if is_document and _LONG.search(data):
        data = _STRING.sub(lambda match: _string(match, removed, deep), data)
    return cut_shapes(data, removed)


def _dense(run: bytes, removed: Removed) -> bytes:
    """A run without spaces, of which a part is base85 with quotation marks in it."""
    name, equals, value = run.partition(b"=")
    if equals and name.isalnum() and len(name) < SHORTEST and len(value) >= SHORTEST:
        return name + equals + (removed(value, "encoded data") if _is_quoted_dense(value) else value)
    return removed(run, "encoded data") if _is_quoted_dense(run) else run


def _is_quoted_dense(run: bytes) -> bool:
    return b'"' in run and b"%" in run and is_dense(run.decode())


def _element(text: bytes, removed: Removed, deep: int) -> bytes:
    meant = unescape(text.decode(errors="replace")).encode(errors="replace") if b"&" in text else text
    cut = _value(text, meant, removed, deep)
    return text if cut == meant else escape(cut.decode(errors="replace"), quote=False).encode()


def _value(written: bytes, meant: bytes, removed: Removed, deep: int) -> bytes:
    """A value as it is meant, without what is cut out of it."""
    if is_no_text(meant.decode(errors="replace")):
        return removed(written, "what is no text")
    return cut_encoded(meant, removed, deep + 1)


def _string(match: re.Match[bytes], removed: Removed, deep: int) -> bytes:
    """A string of JSON as it may stay: without what is cut out of it, and with its escapes."""
    inner = match[1]
    if len(inner) < SHORTEST:
        return match[0]
    meant = _unescaped(inner).encode(errors="replace")
    cut = _value(inner, meant, removed, deep)
    if cut == meant:
        return match[0]
    kept = json.dumps(cut.decode(errors="replace"), ensure_ascii=b"\\u" in inner)[1:-1].encode()
    return match[0][:1] + kept + match[0][1 + len(inner) :]


def _unescaped(inner: bytes) -> str:
    text = inner.decode(errors="replace")
    if "\\" in text:
        try:
            return str(json.loads(f'"{text}"', strict=False))
        except ValueError:
            return text.replace("\\", "")
    return text


def _form(data: bytes, removed: Removed, deep: int) -> bytes:
    """A form whose values are looked into as they are meant, without their escapes."""
    if b"=" not in data or b"%" not in data or b"\n" in data.strip() or b"\t" in data or data[:1] in (b"{", b"[", b"<"):
        return data
    pairs = data.split(b"&")
    for place, pair in enumerate(pairs):
        name, equals, value = pair.partition(b"=")
        if equals and len(value) >= SHORTEST and b"%" in value and b" " not in value:
            meant = unquote_plus(value.decode(errors="replace"), errors="replace").encode(errors="replace")
            cut = _value(value, meant, removed, deep)
            if cut != meant:
                pairs[place] = name + equals + quote_plus(cut.decode(errors="replace")).encode()
    return b"&".join(pairs)
