"""Which fields of a terminal's lines are kept where a request is kept to be read again, and where a line is rejected.

A line is known where it is of a log of attendance or access, or of a table that has no punches. Of a table that is not
known, and of a line that may be somebody's punch and says by no known name whose, all is kept as it came.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_plus, unquote_plus

from attendance.wire import encode_json
from producers.devices.common.listed import (
    LEFT_OUT,
    KeptRequest,
    UnclearText,
    can_be_time,
    is_name_of_field,
    is_time,
    shortened,
)
from producers.devices.common.punch import MAX_TEXT
from producers.devices.zkteco.adms_records import (
    ACCESS_PAYLOAD,
    ANY_CARD,
    BEHIND,
    DATED,
    DOOR,
    ID_CARD,
    LOG,
    LOG_NAMES,
    NAMED,
    SEPARATED,
    WORDS,
    access,
    field_of,
    first_word,
    is_usual,
    reader_of,
    rest_of,
    table_of,
)
from producers.devices.zkteco.attendance_log import NOBODY

_USER: Final = "pin"
_CARD: Final = "cardno"
_LISTED: Final = frozenset({_USER, "index", *LOG[1:5], *LOG_NAMES, *DOOR, *ACCESS_PAYLOAD})
_TIMES: Final = ("datetime", "time", "time_second")
_TYPE: Final = "type"
_SHORT_NUMBER: Final = re.compile(r"\s*\d{1,2}\s*")
_CARD_PLACE: Final = LOG.index("idnum")
_TYPE_PLACE: Final = LOG.index(_TYPE)
_READ: Final = 5
"""Cells of a line of attendance that are read, from the first on."""
# In the place of a card's number, whose form tells whether somebody was compared with a card.
_AN_ID_CARD, _A_CARD = "0" * 15, "0" * 5
# What may stand directly behind a time and change it.
_SUFFIX: Final = re.compile(r"\s?(?:[ap]\.?m\b\.?|[.,]\d{1,9}\b|Z\b|[+-]\d{1,2}:?\d{2}\b)", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[^\s,;|]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f]")
_NUMBER: Final = re.compile(r"\d{1,12}")
_HALF_OF_DAY: Final = re.compile(r"[AaPp]\.?[Mm]\.?")
_USER_LIKE: Final = re.compile(r"(?=\D*\d)[\w-]{1,64}")
_MOST_CELLS: Final = 32
_MOST_NUMBERS: Final = len(LOG)
_QUERY: Final = frozenset(
    {"sn", "table", "tablename", "type", "count", "cmdid", "packcnt", "packidx", "options", "language", "pushver"}
    | {"devicetype", "pushoptionsflag", "authtype", "contenttype", "info", "mac"}
    | {"stamp", "opstamp", "photostamp", "attlogstamp", "operlogstamp", "attphotostamp"}
)
# A second name and value inside of a value, kept apart by another sign than &.
_SECOND: Final = re.compile(r"((?<![\s?;&])[\s?;&]++(?=\w+=))")


def kept_request(table: str, lines: Sequence[str], body: bytes, query: str) -> KeptRequest | None:
    """What is kept of a request. See `ListingAdapter.kept_request`.

    Args:
        table: The name of its table, empty where it names none.
        lines: Its lines.
        body: Its body.
        query: As it stands behind the question mark.
    """
    kind = table_of(table, lines) if table else None
    if table and kind is None:
        return None
    found = _Lines()
    try:
        match kind:
            case "attendance" | "access":
                kept = [found.line(each) for each in lines]
            case "operation" | "biometric" | "table":
                kept = [found.line(each) if reader_of(each) else found.nothing(each) for each in lines]
            case _:
                kept = [found.line(each) if reader_of(each) else each for each in lines]
                if lines and not any(map(reader_of, lines)):
                    return None
    except UnclearText:
        return None
    asked = found.query(query)
    return KeptRequest(body if kept == list(lines) else "\n".join(kept).encode(), asked, found.left_out)


def kept_line(line: str) -> bytes:
    """What a dead letter keeps of a line: the fields that are listed, or its cells.

    Args:
        line: As the terminal wrote it.
    """
    found = _Lines()
    try:
        kept = found.line(line)
    except UnclearText:
        return encode_json(None)
    if found.has_names:
        pairs = (part.partition("=") for part in _divided(kept)[::2])
        fields = {field_of(name[:MAX_TEXT]): value for name, _, value in pairs}
        return encode_json({name: value[:MAX_TEXT] for name, value in fields.items() if name in _LISTED})
    cells = [cell.strip()[:MAX_TEXT] for cell in kept.split("\t")]
    return encode_json([None if cell == LEFT_OUT else cell for cell in cells[:_MOST_CELLS]])


class _Lines:
    """Keeps of lines what is on the list, and counts the rest."""

    def __init__(self) -> None:
        self.left_out = 0
        self.has_names = False
        """Whether the last line is one of names and values."""

    def nothing(self, line: str) -> str:
        """A line of which nothing is kept but that it was there."""
        self.left_out += line != LEFT_OUT
        return LEFT_OUT

    def line(self, line: str) -> str:
        """A line that is read by the readers of attendance and access, in the order in which these look at it."""
        cells = line.split("\t")
        if len(cells) > 1 and is_usual(cells[1]):
            return "\t".join(self._cells(cells, 0))
        if "=" in line and (NAMED.search(line) or reader_of(line) is access or first_word(line) in WORDS):
            return self._pairs(line)
        dated = DATED.match(line)
        if dated is not None:
            return line[: dated.end()] + self._behind(line, dated.end())
        if first_word(line) in WORDS:
            self.left_out += line != first_word(line)
            return first_word(line)
        if len(cells) > 1 and cells[1].lstrip()[:1].isdecimal() and "=" not in cells[0]:
            return "\t".join(self._cells(cells, 0))
        return self._pairs(line) if "=" in line else self._tokens(line)

    def query(self, query: str) -> str:
        """A query by the same rule. A value may hold further names and values."""
        pairs = []
        for pair in query.split("&"):
            name, equals, value = pair.partition("=")
            if unquote_plus(name).strip(" ?").casefold() not in _QUERY:
                self.left_out += bool(value)
                pairs.append(f"{name if is_name_of_field(name) else 'field'}{equals}" if pair else "")
                continue
            first, *more = _SECOND.split(unquote_plus(value))
            kept = [self._value(first)]
            for sign, part in zip(more[::2], more[1::2], strict=True):
                if part.partition("=")[0].strip(" ?").casefold() in _QUERY:
                    kept += [sign, self._value(part)]
                else:
                    self.left_out += 1
            again = "".join(kept)
            pairs.append(pair if again == unquote_plus(value) else f"{name}={quote_plus(again)}")
        return "&".join(pairs)

    def _cells(self, cells: Sequence[str], first: int) -> list[str]:
        """The cells of a line of attendance, of which the first is the one of that place of all."""
        width = first + len(cells)
        return [self._cell(place, each, width) for place, each in enumerate(cells, start=first)]

    def _cell(self, place: int, cell: str, width: int) -> str:
        if not cell.strip():
            return cell
        if place < _READ:
            return self._value(cell)
        if place == _TYPE_PLACE and _SHORT_NUMBER.fullmatch(cell):
            return cell
        self.left_out += 1
        if place == _CARD_PLACE and ID_CARD.fullmatch(cell.strip()):
            return _AN_ID_CARD
        if place == _CARD_PLACE and width == len(LOG) and ANY_CARD.fullmatch(cell.strip()):
            return _A_CARD
        return LEFT_OUT

    def _behind(self, line: str, end: int) -> str:
        """What is kept behind a user and a time."""
        rest, suffix = line[end:], ""
        if BEHIND.match(line, end) is None and (found := _SUFFIX.match(rest)):
            suffix, rest = found[0], rest[found.end() :]
        cells = rest_of(rest)
        sign = next((each for each in "\t,;|" if each in rest), " ")
        kept = self._cells(cells, 2)
        before = rest.split(sign)[0]
        if sign != " " and before.strip():
            self.left_out += 1
            suffix += f" {LEFT_OUT}"
        return suffix + "".join(sign + each for each in kept)

    def _pairs(self, line: str) -> str:
        """A line of names and values. All have their names."""
        self.has_names = True
        pieces = _divided(line)
        pairs = [piece.partition("=") for piece in pieces[::2]]
        fields = {field_of(name[:MAX_TEXT]): value.strip() for name, equals, value in pairs if equals}
        is_dated = any(fields.get(name) for name in _TIMES)
        is_known = _USER in fields or first_word(line) in WORDS or reader_of(line) is access
        if not is_known and any(can_be_time(name, value) for name, value in fields.items()):
            return line
        by_card = fields.get(_USER, "") in ("", NOBODY)
        seen: dict[str, str] = {}
        for number, (written, equals, value) in enumerate(pairs):
            word = first_word(written)
            if not equals:
                pieces[2 * number] = self._word(written)
                continue
            name = field_of(written[:MAX_TEXT])
            plain = written.strip().rpartition(" ")[2]
            before = f"{word} " if word in WORDS and word != plain else ""
            kept = self._field(name, value, seen, is_dated=is_dated, by_card=by_card)
            pieces[2 * number] = f"{before}{plain if is_name_of_field(plain) else 'field'}={kept}"
        return "".join(pieces)

    def _field(self, name: str, value: str, seen: dict[str, str], *, is_dated: bool, by_card: bool) -> str:
        is_listed = name in _LISTED or (name == _TYPE and _SHORT_NUMBER.fullmatch(value))
        is_listed = is_listed or (name == _CARD and (by_card or value.strip() in ("", NOBODY)))
        if is_listed:
            return self._value(value)
        if not is_dated and can_be_time(name, value.strip()):
            return value
        self.left_out += bool(value.strip())
        # A name that has two values is one that nobody can read.
        return "" if seen.setdefault(name, value) == value else LEFT_OUT

    def _word(self, text: str) -> str:
        """What stands among names and values and is none: a word of the protocol, or something else."""
        if not text.strip():
            return text
        word = first_word(text)
        kept = LEFT_OUT
        if word in WORDS:
            kept = text if text.strip() == word else f"{word} {LEFT_OUT}"
        self.left_out += kept != text
        return kept

    def _value(self, value: str) -> str:
        """A value that is listed. One that is too long for any user stays too long."""
        if len(value) <= MAX_TEXT:
            return value
        self.left_out += 1
        within = value.strip()
        return within if len(within) <= MAX_TEXT else shortened(within)

    def _tokens(self, line: str) -> str:
        """A line of none of the forms: what can be a user, a number or a time in it.

        Raises:
            UnclearText: it is no text, and may be lines that are packed.
        """
        if _CONTROL.search(line):
            raise UnclearText
        left = _MOST_NUMBERS
        first = _TOKEN.search(line)

        def kept(match: re.Match[str]) -> str:
            nonlocal left
            text = match[0]
            if is_time(text) or _HALF_OF_DAY.fullmatch(text):
                return text
            can_be_user = first is not None and match.start() == first.start() and _USER_LIKE.fullmatch(text)
            if left and (can_be_user or _NUMBER.fullmatch(text)):
                left -= 1
                return text
            self.left_out += text != LEFT_OUT
            return LEFT_OUT

        return _TOKEN.sub(kept, line)


def _divided(line: str) -> list[str]:
    """The pairs of a line, and between each two of them what keeps them apart."""
    if "\t" not in line:
        return re.split(f"({SEPARATED.pattern})", line)
    return re.split("(\t)", line)
