"""Finds pictures and templates that are written as lists of numbers, hex with signs between, escapes, base45 or base85.

All of it takes time in proportion to the size: a run is looked at as a whole, and what was looked at is not looked at
again from each of its characters.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from html import unescape
from itertools import cycle, groupby, pairwise
from typing import Final

from producers.runs import Removed

Find = Callable[[bytes], tuple[int, int] | None]
"""Where in a run a picture or a template begins and ends; None where there is none."""

SHORTEST: Final = 64
"""Characters that a picture or template has at least, however dense its encoding."""
_FEWEST: Final = 32
"""Numbers that a picture or template has at least."""
_FEWEST_PRECISE: Final = 8
"""Numbers of four or more decimals that the beginning of a template has at least. Two are a place on a map."""

# What stands between the numbers of a list, also where that stands escaped in another document, or one element each.
_BETWEEN: Final = (
    rb"""(?:[\s,;|:\[\](){}"'\\+]|\\[nrt]|%(?:25){0,3}+(?:2[Cc0BbFf]|5[BbDd]|0[AaDd9]|3[AaBb]|7[CcBbDd])"""
    rb"""|&(?:quot|#3[49]|#x2[27]|#1[03]|#x[aAdD]);|</?[A-Za-z][\w:.-]{0,30}/?>)"""
)
_NUMBER: Final = rb"-?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+[fFdDLl]?+(?![\w-])"
_NUMBERS: Final = re.compile(rb"(?<![\w.+-])" + _NUMBER + rb"(?:" + _BETWEEN + rb"{1,64}+" + _NUMBER + rb")*+")
_EACH_NUMBER: Final = re.compile(_NUMBER)
_FRACTION: Final = re.compile(rb"\d[.eE]")
_PRECISE: Final = re.compile(rb"\.\d{4}")
_ONE_BYTE: Final = rb"[0-9a-fA-F]{2}"
_SPACED_HEX: Final = re.compile(
    rb"(?<![0-9A-Za-z])"
    + _ONE_BYTE
    + rb"(?:[\s,:;|\"'\[\]_.\\-]{1,4}+"
    + _ONE_BYTE
    + rb"(?![0-9A-Za-z])){%d,}+" % (_FEWEST - 1)
)
_MARKED_HEX: Final = re.compile(
    rb"(?:(?:0[xX]|#)" + _ONE_BYTE + rb"(?![0-9A-Za-z])[\s,;\"'\[\](){}:|]{0,4}+){%d,}+" % _FEWEST
)
# Some letters stand for themselves.
_ESCAPED: Final = re.compile(
    rb"(?:(?:\\{1,8}+(?:[xX]|u00)|%(?:25){0,3}|&#[xX])[0-9a-fA-F]{1,2};?+"
    rb"[^\\%=&\x00-\x1f\x7f-\xff\"']{0,12}+(?:=?\r?\n)?+){32,}+"
)
_QUOTED_PRINTABLE: Final = re.compile(rb"(?:=(?:[0-9A-F]{2}|\r?\n| )[\r !-<>-~]{0,40}+){%d,}+" % _FEWEST)
_DECIMAL_REFERENCES: Final = re.compile(rb"(?:&#\d{1,3};\s{0,4}+){%d,}+" % _FEWEST)
_ESCAPE: Final = re.compile(rb"(?:\\{1,8}(?:[xX]|u00)|%|=|&#[xX])([0-9a-fA-F]{1,2});?")
_QUOTED: Final = re.compile(rb"=([0-9A-F]{2})")
_DOUBLED: Final = re.compile(rb"%25(?:25)*[0-9a-fA-F]{2}")
_SOFT_BREAK: Final = re.compile(rb"=?\r?\n|= ")
_NAME_BEFORE: Final = re.compile(rb"[\w.-]{1,40}=(?=[^=])")
_OCTAL: Final = re.compile(rb"(?:\\{1,8}+[0-3][0-7]{2}){%d,}+" % _FEWEST)
_HEX_GROUPS: Final = re.compile(
    rb"(?<![0-9A-Za-z-])[0-9a-fA-F]{4,64}+"
    rb"(?:(?:[ \t:,_.-]|\r?\n[ \t]*+|\\n){1,2}+[0-9a-fA-F]{4,64}+(?![0-9A-Za-z])){6,}+"
)
_HEX_DUMP: Final = re.compile(
    rb"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{4,8}[:\- \t]{1,3}(?:[0-9a-fA-F]{2,8}[ -]{1,2}){2,16}[^\r\n]{0,18}"
    rb"(?:\r?\n[ \t]*+|\Z|\t)){3,}+"
)
_UUENCODED: Final = re.compile(
    rb"(?:(?:^|(?<=[=>\t ]))M[ -`]{60}(?:\r?\n| )){2,}+(?:[ -`]{1,61}(?:\r?\n| |\Z))?+(?:`?\r?\nend)?+", re.MULTILINE
)
# Each line with some capital letters, so that times and numbers above it are none of it.
_LINE_OF_BASE45: Final = rb"(?=(?:[0-9 $%*+./:-]{0,40}+[A-Z]){6})[0-9A-Z $%*+./:-]{16,}+"
_BREAK: Final = rb"(?:\r?\n[ \t]*+|(?:\\r)?\\n)"
_BASE45: Final = re.compile(
    rb"(?<![0-9A-Z $%*+./:-])"
    + _LINE_OF_BASE45
    + rb"(?:"
    + _BREAK
    + _LINE_OF_BASE45
    + rb")*+(?:"
    + _BREAK
    + rb"[0-9A-Z $%*+./:-]{1,64}+(?=[\"<\r\n\t\\]|\Z))?+"
)
_BEFORE_BASE45: Final = re.compile(rb"(?:[0-9$%*+./:-]*+ )*+")
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PIECES: Final = re.compile(
    rb"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{4,}+"
    rb"(?:(?:[ \r\n\"',+.\\]|(?<=\n)\t|\\[nrt]|&#1[03];|&#x[aAdD];|<br ?/?>){1,64}+[A-Za-z0-9+/=_-]++){3,}+"
)
_PIECE: Final = re.compile(rb"[A-Za-z0-9+/=_-]+")

_DENSE: Final = re.compile(rb"[!-~]{%d,}+" % SHORTEST)
_FORM_PARTS: Final = re.compile(rb"(&(?=[\w.%\[\]-]{1,60}=)|(?:^|(?<=&)|(?<=\?))[~\w.%\[\]-]{1,60}=)")
_PARTS: Final = re.compile(rb"(</?[A-Za-z][\w:.-]{0,60}(?:\s[^<>]{0,200})?/?>|<!\[CDATA\[|\]\]>)")
# The last line of base85 may be too short to tell by itself; in a record a few signs are nearly all that there are.
_LAST_LINE: Final = re.compile(
    rb"(bytes redacted\]\r?\n[ \t]*+)"
    rb"((?=[^\s!#$%&()*+;<>?@^_`{|}~]{0,60}[!#$%&()*+;<>?@^`{|}~])[!-~]{4,63}+)(?=\r?\n|\t|\Z)"
)
_PLAIN: Final = re.compile(rb"[\w:./ -]*+")
_MOJIBAKE: Final = re.compile(rb"[^\s\"]{%d,}+" % SHORTEST)
_CONTROLS: Final = frozenset(chr(each) for each in (*range(9), 11, 12, *range(14, 32), *range(127, 160), 0xFFFD))

_TIMES: Final = ((1_200_000_000, 2_300_000_000, 320_000_000), (1_200_000_000_000, 2_300_000_000_000, 320_000_000_000))
_MOST_OF_A_BYTE: Final = 0xFF


def cut_shapes(data: bytes, removed: Removed) -> bytes:
    """The text without lists of numbers, hex, escapes and base85 that are long enough for a picture or a template.

    Args:
        data: Text in UTF-8, or in an encoding that has ASCII as it does.
        removed: Called for each that is cut out.
    """
    for pattern, what, find, may_have in _FORMS:
        if may_have(data):
            data = pattern.sub(partial(_without, what=what, find=find, removed=removed), data)
    if len(data) >= 2 * SHORTEST:
        data = _PIECES.sub(partial(_without_pieces, removed=removed), data)
    data = _DENSE.sub(lambda match: _dense(match[0], removed), data)
    if b" bytes redacted]" in data:
        data = _LAST_LINE.sub(lambda match: match[1] + removed(match[2], "encoded data"), data)
    if b"\xc2" in data or b"\xef\xbf\xbd" in data:
        data = _MOJIBAKE.sub(lambda match: _without_mojibake(match[0], removed), data)
    return data


def _without(match: re.Match[bytes], what: str, find: Find, removed: Removed) -> bytes:
    """The run without what is found in it, from one place to another."""
    text, found = match[0], find(match[0])
    if found is None:
        return text
    return text[: found[0]] + removed(text[found[0] : found[1]], what) + text[found[1] :]


def _without_mojibake(run: bytes, removed: Removed) -> bytes:
    return removed(run, "what is no text") if is_no_text(run.decode(errors="replace")) else run


def is_no_text(text: str) -> bool:
    """Whether it is bytes that were taken for letters: a text has no such control characters."""
    if len(text) < SHORTEST:
        return False
    count = sum(map(_CONTROLS.__contains__, text))
    return count > 4 and count > 0.02 * len(text)


def _dense(run: bytes, removed: Removed) -> bytes:
    """A run without spaces, whose parts each are a value: between tags, behind the name of a form, between commas."""
    name = _NAME_BEFORE.match(run)
    if b"</" not in run and name is not None and _is_dense_part(run[name.end() :]):
        return name[0] + removed(run[name.end() :], "encoded data")
    parts = (_PARTS if b"</" in run else _FORM_PARTS).split(run)
    for place in range(0, len(parts), 2):
        part = parts[place]
        if len(part) < SHORTEST:
            continue
        cells = part.split(b",")
        dense = [len(each) >= SHORTEST and _is_dense_part(each) for each in cells]
        if any(dense) and all(is_one or _PLAIN.fullmatch(each) for each, is_one in zip(cells, dense, strict=True)):
            cells = [
                removed(each, "encoded data") if is_one else each for each, is_one in zip(cells, dense, strict=True)
            ]
            parts[place] = b",".join(cells)
        elif any(dense) or _is_dense_part(part):
            parts[place] = _behind_its_name(part, removed)
    return b"".join(parts)


def _behind_its_name(part: bytes, removed: Removed) -> bytes:
    cells = part.split(b";")
    long = [each for each in cells if len(each) >= SHORTEST]
    # One cell of a line whose others are none of it.
    if (
        len(long) == 1
        and 2 * len(long[0]) > len(part)
        and all(each is long[0] or _PLAIN.fullmatch(each) for each in cells)
    ):
        return b";".join(removed(each, "encoded data") if each is long[0] else each for each in cells)
    return removed(part, "encoded data")


def _is_dense_part(part: bytes) -> bool:
    text = part.decode("ascii", errors="replace")
    return is_dense(text) or (b"&" in part and is_dense(unescape(text)))


def is_dense(text: str) -> bool:
    """Whether letters, digits and signs stand in it as they do in base85, and in no document or address.

    In those a few signs are nearly all that there are: quotation marks, colons, slashes.
    """
    if not text.isascii() or text.islower() or text.isupper():
        return False
    signs = Counter(each for each in text if not each.isalnum())
    count = signs.total()
    most = sum(number for _, number in signs.most_common(3))
    return len(signs) >= 10 and 0.1 * len(text) < count < 0.6 * len(text) and most < 0.55 * count


def _vector(found: bytes) -> tuple[int, int] | None:
    """Where a list of numbers is a template or a picture, and not numbers of records, or times.

    Numbers that another sign keeps apart from the list are not of it.
    """
    if len(found) < SHORTEST:
        return None
    places = [match.span() for match in _EACH_NUMBER.finditer(found)]
    few = _FEWEST_PRECISE if len(_PRECISE.findall(found)) >= _FEWEST_PRECISE else _FEWEST
    if len(places) < few:
        return None
    between = [found[end:start].strip() or b" " for (_, end), (start, _) in pairwise(places)]
    usual = Counter(between).most_common(1)[0][0]
    first = 0
    while first < 2 and len(between) - first > few and between[first] != usual:
        first += 1
    last = len(between)
    while len(between) - last < 2 and last - first > few and between[last - 1] != usual:
        last -= 1
    start, end = places[first][0], places[last][1]
    if usual == b":" and not _FRACTION.search(found) and all(int(found[a:b][:20]) < 60 for a, b in places):
        return None
    if not _FRACTION.search(found, start, end):
        numbers = [int(found[begin:after][:20].rstrip(b"fFdDLl")) for begin, after in places[first : last + 1]]
        rises = sum(1 for before, after in pairwise(numbers) if after > before)
        if rises == len(numbers) - 1 or _are_timed(numbers):
            return None
    return start, end


def _are_timed(numbers: Sequence[int]) -> bool:
    """Whether there are times among them: seconds or milliseconds since 1970 near each other, dates, or years."""
    for first, last, apart in _TIMES:
        large = [each for each in numbers if each >= first]
        near = [each for each in large if each <= last]
        if len(near) * 24 >= len(numbers) and near and max(near) - min(near) <= apart:
            return True
    dates = [
        each for each in numbers if 20_000_101 <= each <= 20_991_231 or 20_000_101_000_000 <= each <= 20_991_231_235_959
    ]
    dates = [each for each in dates if _is_date(str(each)[:8])]
    if len(dates) * 24 >= len(numbers):
        return True
    years = [each for each in numbers if 2000 <= each <= 2099]
    return len(years) * 16 >= len(numbers) and len(set(years)) <= 3


def _is_date(digits: str) -> bool:
    return 1 <= int(digits[4:6]) <= 12 and 1 <= int(digits[6:8]) <= 31


def _hex(found: bytes) -> tuple[int, int] | None:
    """Whether pairs of hex digits are bytes, and not the hours and minutes of times."""
    tokens = re.findall(rb"[0-9a-fA-F]{2}", found)
    return _all(found) if 6 * sum(1 for each in tokens if not each.isdigit()) >= len(tokens) else None


def _base45(found: bytes) -> tuple[int, int] | None:
    """Whether capital letters, digits and signs stand in it as they do in base45, and in no sentence or log."""
    begin = _BEFORE_BASE45.match(found)
    start = begin.end() if begin else 0
    found = found[start:]
    signs = Counter(each for each in found if each in b"$%*+./:-")
    rare = sum(1 for each in b"$%*" if each in signs)
    letters = sum(1 for each in found if 65 <= each <= 90)
    is_mixed = 0.4 * len(found) < letters < 0.9 * len(found)
    is_dense = is_mixed and rare >= 2 and len(signs) >= 5 and signs.total() > 0.07 * len(found)
    return (start, start + len(found)) if is_dense and len(found) >= SHORTEST else None


def _hex_groups(found: bytes) -> tuple[int, int] | None:
    rest = _UUID.sub(b"", found)
    groups = re.findall(rb"[0-9a-fA-F]{4,}", rest)
    mixed = [each for each in groups if not each.isdigit() and not each.isalpha()]
    return _all(found) if sum(map(len, groups)) >= 2 * SHORTEST and 2 * len(mixed) >= len(groups) else None


def _escapes(found: bytes) -> tuple[int, int] | None:
    """Where escapes stand for bytes that are no text."""
    escape = _QUOTED if found[:1] == b"=" else _ESCAPE
    end = max((match.end() for match in escape.finditer(found)), default=0)
    content = found[:end]
    for _ in range(3):
        content = content.replace(b"%25", b"%") if _DOUBLED.search(content) else content
    content = _SOFT_BREAK.sub(b"", content)
    if not content or 3 * len(escape.findall(content)) < 0.4 * len(content):
        return None
    content = b"".join(
        bytes([int(each, 16)]) if is_escape else each
        for is_escape, each in zip(cycle((False, True)), escape.split(content), strict=False)
    )
    try:
        return (0, end) if is_no_text(content.decode()) else None
    except UnicodeDecodeError:
        return 0, end


def _without_pieces(match: re.Match[bytes], removed: Removed) -> bytes:
    """The run without words of one length, such as the lines of a picture. Words of a text have several.

    Several pictures may follow each other, whose lines are not equally long.
    """
    found = match[0]
    words = list(_PIECE.finditer(found))
    kept, end, place = [], 0, 0
    for length, alike in groupby(len(word[0]) for word in words):
        count = sum(1 for _ in alike)
        first, after = place, place + count
        place = after
        # The last line may be short, and a name may stand before the first one.
        after += after < len(words) and len(words[after][0]) < length
        if count == 1 or (after - first) * length < 2 * SHORTEST:
            continue
        start, last = words[first].start(), words[after - 1].end()
        before = words[first - 1] if first else None
        if before and (name := _NAME_BEFORE.search(before[0])) and len(before[0]) - name.end() == length:
            start = before.start() + name.end()
        if start >= end and _are_encoded(found[start:last]):
            kept += [found[end:start], removed(found[start:last], "encoded data")]
            end = last
    return b"".join([*kept, found[end:]])


def _are_encoded(pieces: bytes) -> bool:
    letters = set(map(chr, pieces))
    kinds = str.isupper, str.islower, lambda each: each.isdigit() or each in "+/"
    return len(letters) >= 20 and all(any(map(kind, letters)) for kind in kinds)


def _all(found: bytes) -> tuple[int, int] | None:
    return 0, len(found)


def _counts(*signs: bytes) -> Callable[[bytes], bool]:
    """Whether so many of these stand in the data as in a picture: to count them is far faster."""
    return lambda data: sum(map(data.count, signs)) >= _FEWEST


def _has_hex(data: bytes) -> bool:
    return len(data) - len(data.translate(None, b"abcdefABCDEF")) >= 8 and _has_run(data.translate(_HEX_CLASS))


def _has_numbers(data: bytes) -> bool:
    return b"</" in data or b"%" in data or _has_run(data.translate(_NUMBER_CLASS))


def _has_run(classes: bytes) -> bool:
    return b"a" * SHORTEST in classes


def _class(letters: bytes) -> bytes:
    """A table by which what may stand in a run becomes one letter, and all else another."""
    return bytes(ord("a") if each in letters else ord(" ") for each in range(256))


_HEX_CLASS: Final = _class(b"0123456789abcdefABCDEF \t\r\n,:;|\"'[]_.\\-n")
_BASE45_CLASS: Final = _class(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+./:-\\rn\r\n\t")
_NUMBER_CLASS: Final = _class(b"0123456789+-.eEfFdDLlnrt \t\r\n,;|:[](){}\"'\\&#xquo")
_FORMS: Final = (
    (_HEX_DUMP, "hex", _all, _has_hex),
    (_UUENCODED, "encoded data", _all, lambda data: b"\nM" in data or b" M" in data),
    (_SPACED_HEX, "hex", _hex, _has_hex),
    (_HEX_GROUPS, "hex", _hex_groups, _has_hex),
    (_MARKED_HEX, "escaped bytes", _all, _counts(b"0x", b"0X", b"#")),
    (_ESCAPED, "escaped bytes", _escapes, _counts(b"\\", b"%", b"&#")),
    (_QUOTED_PRINTABLE, "escaped bytes", _escapes, _counts(b"=")),
    (_DECIMAL_REFERENCES, "escaped bytes", _all, _counts(b"&#")),
    (_OCTAL, "escaped bytes", _all, _counts(b"\\")),
    (_NUMBERS, "a list of numbers", _vector, _has_numbers),
    (_BASE45, "encoded data", _base45, lambda data: _has_run(data.translate(_BASE45_CLASS))),
)
