"""What is kept of a message whose fields are known: the values of these, and of all others that they were there.

A body that is kept to be read again holds whatever the terminal sent beside a punch: photographs, templates, names,
passwords, in whichever form and under whichever name. No list of what is forbidden names all of it.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable
from urllib.parse import unquote_plus

import orjson
from msgspec import Struct

from attendance.personal import is_never_kept
from producers.devices.common.bodies import Ambiguous, given_twice
from producers.devices.common.punch import MAX_TEXT
from producers.devices.contract import Head

LEFT_OUT: Final = "-"
"""In the place of a cell that is not kept: whether there is something in it may decide what its line or row is."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_CLOCK: Final = r"\d{1,2}:\d{1,2}(?::\d{1,2}(?:[.,]\d{1,9})?)?(?:\s?[AaPp]\.?[Mm]\.?)?(?:\s?(?:Z|[+-]\d{2}:?\d{2}))?"
_DATE: Final = r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2}))"
# What a clock may say: an epoch, a date, a time of day, or both.
_TIME: Final = re.compile(
    rf"\d{{10}}(?:\d{{3}})?(?:\.\d{{1,9}})?|20\d{{6}}[ T]?\d{{6}}Z?|{_DATE}(?:[\sT]{{1,4}}{_CLOCK})?|{_CLOCK}"
)
_PART: Final = re.compile(rf"\d{{1,4}}|{_TIME.pattern}")
_MOST_OF_A_TIME: Final = 8
"""Parts of a time that is written as a list or an object of them."""
_MOST_VALUES: Final = 8
"""Values of one name that is given several times; more say no more than that it is."""
_BEGINNING: Final = 32  # characters
_END: Final = 8


class KeptRequest(Struct, frozen=True):
    """What is kept of a request that holds messages which the adapter knows: body and query, to be read as before.

    `left_out` is how many values are not in them any more.
    """

    body: bytes
    query: str
    left_out: int


@runtime_checkable
class ListingAdapter(Protocol):
    """A push adapter that has a list of the fields of its messages that may be kept."""

    def kept_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """A request without the fields that are not on the list; None where it holds no message that is known.

        Args:
            head: The head, with the headers of the body as it is here.
            body: The body, not compressed.
            query: As it stands behind the question mark.

        Raises:
            InvalidRecord: the body cannot be read.
        """


class UnclearText(Exception):
    """A field that has to be kept has bytes that cannot be read; only the body itself still has them."""


class Keeper:
    """Keeps of a message what is on a list, and counts the rest.

    Args:
        names: The names of the fields that are kept.
        times: Those of them that may hold the time.
        has_bytes: Whether the bytes of the message are there and may be kept instead of it.
    """

    def __init__(self, names: Collection[str], times: Collection[str], *, has_bytes: bool = True) -> None:
        self._names = frozenset(names)
        self._times = frozenset(times)
        self._has_bytes = has_bytes
        self.left_out = 0
        """Values that were left out."""

    def is_dated(self, fields: Mapping[str, object]) -> bool:
        """Whether a field that is known for it says the time.

        Args:
            fields: As the device wrote them.
        """
        return any(fields.get(name) not in (None, "") for name in self._times)

    def fields(
        self, fields: Mapping[str, object], without: Collection[str] = (), *, is_dated: bool
    ) -> dict[str, object]:
        """The fields, of which those that are not on the list have no value. All have their names, or are numbered.

        Args:
            fields: As the device wrote them.
            without: Names on the list that are left out all the same.
            is_dated: Whether it is known which field is the time. Otherwise whatever can be a time is kept.

        Raises:
            UnclearText: a value on the list has bytes that cannot be read.
        """
        found: dict[str, object] = {}
        for number, (name, value) in enumerate(fields.items()):
            if name in self._names and name not in without:
                found[name] = self._kept(name, value)
            elif not is_dated and can_be_time(name, value):
                found[name] = value
            else:
                # The name may be no name either.
                is_name = _NAME.fullmatch(name) is not None
                found[name if is_name else f"field_{number}"] = None
                self.left_out += value not in (None, "") or not is_name
        return self._ambiguous(fields, found, without) if isinstance(fields, Ambiguous) else found

    def query(self, query: str, without: Collection[str] = ()) -> str:
        """A query of which the same is kept.

        Args:
            query: As it stands behind the question mark.
            without: As in `fields`.
        """
        pairs = []
        for pair in query.split("&"):
            name, equals, value = pair.partition("=")
            meant = unquote_plus(name)
            if meant in self._names and meant not in without:
                pairs.append(pair)
            else:
                pairs.append(f"{name if _NAME.fullmatch(meant) else 'field'}{equals}" if pair else "")
                self.left_out += bool(value)
        return "&".join(pairs)

    def _ambiguous(self, fields: Ambiguous, found: dict[str, object], without: Collection[str]) -> Ambiguous:
        """What is kept of fields of which some were given different values: of those on the list, each value."""
        others: dict[str, list[object]] = {}
        for name, values in fields.others.items():
            if name in self._names and name not in without:
                others[name] = [self._kept(name, each) for each in values[:_MOST_VALUES]]
                self.left_out += len(values[_MOST_VALUES:])
            else:
                self.left_out += len(values)
        return Ambiguous(found, fields.names & found.keys(), others)

    def _kept(self, name: str, value: object) -> object:
        """A value that is still read as what it was: one that is too long for a user stays too long, a list a list."""
        match value:
            case str():
                return self._text(name, value)
            case list() | dict() if name in self._times and _is_divided_time(value):
                return value
            case list():
                self.left_out += 1
                # Whether there is anything in it may decide what a message is about.
                return [None] if value else []
            case dict():
                self.left_out += 1
                return {"": None} if value else {}
        return value

    def _text(self, name: str, value: str) -> str:
        if "\N{REPLACEMENT CHARACTER}" in value and self._has_bytes:
            raise UnclearText
        if len(value) <= MAX_TEXT:
            return value
        within = value.strip()
        # Spaces around a user are not part of it; a time with them is none.
        if len(within) <= MAX_TEXT and name not in self._times:
            return within
        self.left_out += 1
        return shortened(within)


def kept_record(record: object, user: str, names: Collection[str], times: Collection[str]) -> object:
    """What is kept of a record that a device was asked for; the record itself where it has no field for who came.

    Args:
        record: As the device wrote it.
        user: The field for who came.
        names: As of `Keeper`.
        times: As of `Keeper`.
    """
    if not isinstance(record, dict) or user not in record:
        return record
    keeper = Keeper(names, times, has_bytes=False)
    return keeper.fields(record, is_dated=keeper.is_dated(record))


def shortened(text: str) -> str:
    """A text that is too long for any user or time, so that it stays too long, and begins and ends as it did.

    Args:
        text: More than `MAX_TEXT` characters, with no spaces around them.
    """
    return (text[:_BEGINNING].ljust(MAX_TEXT, ".") + text[-_END:]).strip()


def kept_batch(
    keeper: Keeper,
    content: object,
    records: Sequence[object],
    message: Callable[[Mapping[str, object]], Mapping[str, object] | None],
) -> object:
    """What is kept of several messages, and of what stands around them. One that is not known stays as it is.

    Args:
        keeper: Keeps what stands around them.
        content: The messages, or an object that has them as its `events`.
        records: The messages.
        message: What is kept of one; None where it is not known.

    Returns:
        None where none of them is known.

    Raises:
        UnclearText: a value on the list has bytes that cannot be read.
    """
    kept: list[object] = []
    known: list[Mapping[str, object]] = []
    for each in records:
        if isinstance(each, dict) and (found := message(each)) is not None:
            known.append(each)
            kept.append(found)
        else:
            kept.append(each)
    if not known or given_twice(content, ("events",)):
        return None
    if not isinstance(content, dict):
        return kept
    empty = {**content, "events": None}
    if isinstance(content, Ambiguous):
        empty = Ambiguous(empty, content.names, content.others)
    around = keeper.fields(empty, is_dated=all(map(keeper.is_dated, known)))
    around["events"] = kept
    return around


def says_no_more(document: bytes) -> bool:
    """Whether a document says nothing but its fields: it is JSON as it should be, or a form in one line.

    Args:
        document: What was read.
    """
    if document.lstrip()[:1] in (b"{", b"["):
        try:
            orjson.loads(document)
        except orjson.JSONDecodeError:
            return False
        return True
    return not document.lstrip().startswith((b"<", b"-")) and b"\n" not in document.strip()


def is_time(text: str) -> bool:
    """Whether a text is what a clock may say: an epoch, a date, a time of day, or both.

    Args:
        text: With no spaces around it.
    """
    return _TIME.fullmatch(text) is not None


def is_name_of_field(text: str) -> bool:
    """Whether a text can be nothing but the name of a field: one word of letters, digits and underscores.

    Args:
        text: As a device or a file has it.
    """
    return _NAME.fullmatch(text) is not None


def _is_divided_time(value: list[object] | dict[str, object]) -> bool:
    """Whether a list or an object is a time in parts, such as year, month and day, or date and clock."""
    parts: Sequence[object] = value if isinstance(value, list) else list(value.values())
    names = value.keys() if isinstance(value, dict) else ()
    return 0 < len(parts) <= _MOST_OF_A_TIME and (
        all(map(_NAME.fullmatch, names))
        and all(type(each) is int or (isinstance(each, str) and _PART.fullmatch(each)) for each in parts)
    )


def can_be_time(name: str, value: object) -> bool:
    """Whether a field may be the time of a message that says it by no known name.

    Args:
        name: The name of the field.
        value: As the device wrote it.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return bool(_NAME.fullmatch(name) and _TIME.fullmatch(str(value))) and not is_never_kept(name)
