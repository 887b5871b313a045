"""Lists: the filters, order and paging of `frappe.get_list`, over rows that are dictionaries."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from sandbox.erpnext.aggregates import compute, compute_groups, field_of
from sandbox.erpnext.errors import failed, thrown

Value = Any
"""What JSON can hold."""

Row = dict[str, Any]
Filter = tuple[str, str, Any]

DEFAULT_LIMIT: Final = 20

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda ours, theirs: bool(ours == theirs),
    "!=": lambda ours, theirs: bool(ours != theirs),
    ">": lambda ours, theirs: bool(ours > theirs),
    ">=": lambda ours, theirs: bool(ours >= theirs),
    "<": lambda ours, theirs: bool(ours < theirs),
    "<=": lambda ours, theirs: bool(ours <= theirs),
}
_STAMPS: Final = frozenset({"creation", "modified"})
_TIMES: Final = _STAMPS | {"time"}
_DATE: Final = len("2026-01-01")
_SECONDS: Final = len("2026-01-01 00:00:00")


def collate(value: Value) -> Value:
    """The value as the database compares it: letter case and trailing spaces do not count, null is empty."""
    if value is None:
        return ""
    return value.rstrip(" ").casefold() if isinstance(value, str) else value


@dataclass(frozen=True)
class Query:
    """Which rows, which of their fields, in which order, from where, and how many (0 is all)."""

    fields: tuple[str, ...]
    filters: tuple[Filter, ...]
    order_by: tuple[tuple[str, bool], ...]
    start: int
    limit: int
    aggregates: tuple[str, ...] = ()
    group_by: str | None = None

    @classmethod
    def read(cls, arguments: Mapping[str, Any], doctype: str, known: Sequence[str]) -> "Query":
        """The query that a request's arguments spell.

        Raises:
            FrappeError: a field that the doctype does not have, or an argument that is no JSON.
        """
        fields = parse_json(arguments.get("fields") or ["name"])
        names = [fields] if isinstance(fields, str) else list(fields)
        chosen = list(known) if "*" in names else [_field(name, known) for name in names]
        computed = [name for name in names if field_of(str(name))]
        limit = arguments.get("limit_page_length", arguments.get("limit"))
        return cls(
            fields=tuple(chosen),
            filters=tuple(_filters(arguments.get("filters"), doctype, known)),
            order_by=tuple(_order(arguments.get("order_by"), known)),
            start=int(arguments.get("limit_start") or arguments.get("start") or 0),
            limit=DEFAULT_LIMIT if limit is None else int(limit),
            aggregates=tuple(computed),
            group_by=arguments.get("group_by"),
        )

    def run(self, rows: Iterable[Row]) -> list[Row]:
        """The chosen fields of the rows that match."""
        found = self.matching(rows)
        if self.group_by:
            return compute_groups(self.aggregates, found, self.group_by)
        if self.aggregates:
            return [compute(self.aggregates, found)]
        for field, descending in reversed(self.order_by):
            # Null comes first, as in MariaDB.
            found.sort(key=lambda row: (row.get(field) is not None, collate(row.get(field))), reverse=descending)
        end = self.start + self.limit if self.limit else None
        return [{field: row.get(field) for field in self.fields} for row in islice(found, self.start, end)]

    def matching(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that pass every filter."""
        tests = [(field, _test(field, operator, value)) for field, operator, value in self.filters]
        return [row for row in rows if all(test(row.get(field)) for field, test in tests)]


def parse_json(value: Value) -> Value:
    """What a form field or a query argument holds as JSON; anything but a string is returned as it is.

    Raises:
        FrappeError: it is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise failed("json.decoder.JSONDecodeError", str(error)) from error


def _field(name: Value, known: Sequence[str]) -> str:
    bare = re.sub(r"^`tab[^`]*`\.|`", "", field_of(str(name)) or str(name).strip())
    if bare not in known:
        raise thrown("DataError", f"Field not permitted in query: {bare}")
    return bare


def _filters(given: Value, doctype: str, known: Sequence[str]) -> Iterable[Filter]:
    """Frappe takes a mapping, or a list of `[field, operator, value]` with or without the doctype before it."""
    given = parse_json(given) if isinstance(given, str) and given[:1] in {"{", "["} else given
    if not given:
        return
    if isinstance(given, str):
        given = {"name": given}
    if isinstance(given, Mapping):
        given = [[field, *(value if isinstance(value, list) else ["=", value])] for field, value in given.items()]
    for each in given:
        field, operator, value = each[1:] if len(each) == 4 and each[0] == doctype else each
        yield _field(field, known), str(operator).lower(), value


def _order(given: str | None, known: Sequence[str]) -> Iterable[tuple[str, bool]]:
    for part in (given or "").split(","):
        if part.strip():
            field, _, direction = part.strip().partition(" ")
            yield _field(field, known), direction.strip().lower() == "desc"


def _test(field: str, operator: str, value: Value) -> Callable[[Any], bool]:
    if operator in _COMPARE:
        compare, operand = _COMPARE[operator], _operand(field, value)
        return lambda ours: compare(*_alike(ours, operand))
    if operator in {"in", "not in"}:
        # A number and its digits are equal in SQL.
        members = {str(_operand(field, each)) for each in _members(value)}
        return lambda ours: (str(collate(ours)) in members) == (operator == "in")
    if operator == "between":
        low, high = (_operand(field, each) for each in value)
        high = f"{high} 23:59:59.999999" if isinstance(high, str) and len(high) == _DATE else high
        return lambda ours: low <= collate(ours) <= high
    if operator in {"like", "not like"}:
        pattern = re.compile(re.escape(collate(value)).replace("%", ".*").replace("_", "."), re.DOTALL)
        return lambda ours: bool(pattern.fullmatch(collate(ours))) == (operator == "like")
    if operator == "is":
        return lambda ours: (ours not in {None, ""}) == (collate(value) == "set")
    raise thrown("ValidationError", f"Operator must be one of {', '.join(_COMPARE)}, in, between, like, is")


def _members(value: Value) -> Sequence[Any]:
    return value.split(",") if isinstance(value, str) else list(value)


def _operand(field: str, value: Value) -> Value:
    """The value as rows hold it: times are text, and stamps have microseconds."""
    if isinstance(value, str) and field in _TIMES:
        value = value.replace("T", " ")
        return f"{value}.000000" if field in _STAMPS and len(value) == _SECONDS else value
    return collate(value)


def _alike(ours: Value, theirs: Value) -> tuple[Value, Value]:
    """Both sides as text, or both as numbers where the column is one."""
    ours = collate(ours)
    if isinstance(ours, str):
        return ours, str(theirs)
    try:
        return ours, float(theirs)
    except ValueError:
        return ours, 0.0
