"""Empties the fields of a body that nobody understood whose names say that they are never kept.

The names stay, and so does the document: what a later release reads it by is not in these fields.
"""

import json
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote_plus, unquote_plus

from attendance.personal import is_cut_out, plain

_DEEPEST: Final = 6
# A string, and what it names where it names something: a string, a list of plain values or a plain value.
_JSON: Final = re.compile(
    rb'"((?:[^"\\]|\\.?+)*+)(?:"|\Z)(?:(\s*+:\s*+)("(?:[^"\\]|\\.?+)*+(?:"|\Z)|\[[^\[\]{}]*+\]|[^\s,\]}"\[{]++)?+)?+',
    re.DOTALL,
)
_ELEMENT: Final = re.compile(rb"<([\w:.-]{1,64})((?:\s[^<>]*+)?>)(<!\[CDATA\[.*?(?:\]\]>|\Z)|[^<]*+)", re.DOTALL)
_TAG: Final = re.compile(rb"<[A-Za-z][^<>]*+>")
_ATTRIBUTE: Final = re.compile(rb"""([\w:.-]{1,64})(\s*+=\s*+)("[^"]*+"|'[^']*+')""")
_PART: Final = re.compile(
    rb"""(Content-Disposition:[^\r\n]{0,500}?\bname="?([^";\r\n]{1,64})"?[^\r\n]*+(?:\r?\n[^\r\n]++)*+\r?\n\r?\n)(.*?)(?=\r?\n--|\Z)""",
    re.DOTALL | re.IGNORECASE,
)
# A value ends with the next name, a tab, the end of the line, or what keeps the pairs of a form apart.
_PAIR: Final = re.compile(
    rb"(?:(?<=[\t&?;,\r\n {(|])|^)~?([\w.\[\]%-]{1,64})="
    rb"""((?!["'])(?:(?![ ,;|]{1,3}~?[\w.-]{1,40}=)[^\t&\r\n])*+|"[^"\r\n]*+"?+)""",
    re.MULTILINE,
)


def without_personal(data: bytes, kept: Collection[str] = ()) -> bytes:
    """The text whose fields that are called a name, a password, a photograph or a template are empty.

    Args:
        data: JSON, XML, a form, parts of one, or lines of names and values; also one within the other.
        kept: Names that stay whatever they are, as `attendance.personal.plain` has them: those of the user and the
            time, where somebody set them.
    """
    return _Document(kept, 0).emptied(data)


class _Document:
    """A document of a body, or one within another. `deep` is how many it is within."""

    def __init__(self, kept: Collection[str], deep: int) -> None:
        self._kept = kept
        self._deep = deep
        self._is_parted = self._is_xml = False

    def emptied(self, data: bytes) -> bytes:
        """The document without what goes."""
        if self._deep > _DEEPEST:
            return data
        self._is_parted = b"content-disposition" in data.lower()
        self._is_xml = b"<" in data[:2]
        if self._is_parted:
            data = _PART.sub(lambda match: match[1] if self._goes(match[2]) else match[0], data)
        if b'"' in data:
            data = _JSON.sub(self._member, data)
        if b"<" in data:
            data = _ELEMENT.sub(self._element, data)
            data = _TAG.sub(lambda tag: _ATTRIBUTE.sub(self._attribute, tag[0]), data)
        return _PAIR.sub(self._pair, data) if b"=" in data else data

    def _goes(self, name: bytes) -> bool:
        text = _meant(name)
        return is_cut_out(text) and plain(text) not in self._kept

    def _member(self, match: re.Match[bytes]) -> bytes:
        name, colon, value = match[1], match[2], match[3]
        if value is not None and self._goes(name):
            return b'"' + name + b'"' + colon + b'""'
        text = (name if colon is None else value or b"").strip(b'"')
        found = self._within(text)
        return match[0] if found is None else match[0].replace(text, found, 1)

    def _within(self, text: bytes) -> bytes | None:
        """A document within a string of JSON, without what goes; None where there is none, or nothing goes."""
        if b"\\" not in text or text.lstrip()[:1] not in (b"{", b"[", b"<"):
            return None
        try:
            content = json.loads(b'"' + text + b'"', strict=False).encode()
        except (ValueError, UnicodeError):
            return None
        found = _Document(self._kept, self._deep + 1).emptied(content)
        return None if found == content else json.dumps(found.decode(errors="replace"))[1:-1].encode()

    def _element(self, match: re.Match[bytes]) -> bytes:
        name = match[1].rpartition(b":")[2]
        return b"<" + match[1] + match[2] if self._goes(name) else match[0]

    def _attribute(self, match: re.Match[bytes]) -> bytes:
        return match[1] + match[2] + b'""' if self._goes(match[1]) else match[0]

    def _pair(self, match: re.Match[bytes]) -> bytes:
        value = match[2]
        before = match[0][: len(match[0]) - len(value)]
        if value[:1] == b'"' and (self._is_parted or self._is_xml):
            return match[0]
        if self._goes(match[1]):
            return before
        if b"%" in value and unquote_plus(value[:12].decode(errors="replace")).lstrip()[:1] in ("{", "[", "<"):
            content = unquote_plus(value.decode(errors="replace"), errors="replace").encode(errors="replace")
            found = _Document(self._kept, self._deep + 1).emptied(content)
            return before + (value if found == content else quote_plus(found).encode())
        return match[0]


def _meant(name: bytes) -> str:
    """A name without the escapes of JSON or of a form."""
    text = name.decode(errors="replace")
    if "%" in text:
        text = unquote_plus(text, errors="replace")
    if "\\u" in text:
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    return text[:64]
