"""Rows by name, with the indexes that make look-ups and unique values cheap, and a journal that outlives a crash."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sandbox.erpnext.query import Filter, Row, Value, collate

Key = Callable[[Row], Any]
Change = tuple[str, str, Row | None]
"""A doctype, a name, and the row that it now has; None where it has none any more."""


class Table:
    """The rows of one doctype, by name, in the order they were stored."""

    def __init__(self, fields: Sequence[str], indexes: Mapping[str, Key] | None = None) -> None:
        """An empty table.

        Args:
            fields: What can be asked for, in the order in which a document shows it.
            indexes: By name, the function that gives a row's key; None leaves it out. One named like a field serves
                filters on it.
        """
        self.fields = list(fields)
        self.rows: dict[str, Row] = {}
        self._keys: dict[str, Key] = dict(indexes or {})
        # By index and key the names, in a dictionary for their order and for taking one out of many.
        self._indexes: dict[str, dict[Any, dict[str, None]]] = {index: {} for index in self._keys}

    def put(self, row: Row) -> None:
        """Store a row, in the place of the one with its name."""
        name = row["name"]
        if name in self.rows:
            self._unindex(self.rows[name])
        self.rows[name] = row
        for index in self._keys:
            self._index(index, row)

    def remove(self, name: str) -> None:
        """Take a row out."""
        self._unindex(self.rows.pop(name))

    def add_index(self, index: str, key: Key) -> None:
        """One more index, over what is there and what will come."""
        self._keys[index] = key
        self._indexes[index] = {}
        for row in self.rows.values():
            self._index(index, row)

    def drop_index(self, index: str) -> None:
        """One index less; none of that name is no matter."""
        self._keys.pop(index, None)
        self._indexes.pop(index, None)

    def find(self, index: str, key: Value) -> list[str]:
        """The names of the rows with that key."""
        return list(self._indexes[index].get(key, ()))

    def candidates(self, filters: Iterable[Filter]) -> Iterable[Row]:
        """Every row that can pass these filters, and few others where there is an index, in its order."""
        for field, operator, value in filters:
            wanted = [value] if operator == "=" else value
            if operator not in {"=", "in"} or not isinstance(wanted, list):
                continue
            if field in self._indexes:
                keys = {collate(each if each is None else str(each)) for each in wanted}
                return [self.rows[name] for key in sorted(keys) for name in sorted(self.find(field, key))]
            if field == "name":
                return [self.rows[name] for name in sorted(set(wanted) & self.rows.keys())]
        return [self.rows[name] for name in sorted(self.rows)]

    def _index(self, index: str, row: Row) -> None:
        key = self._keys[index](row)
        if key is not None:
            self._indexes[index].setdefault(key, {})[row["name"]] = None

    def _unindex(self, row: Row) -> None:
        for index, key_of in self._keys.items():
            entries, key = self._indexes[index], key_of(row)
            if key is None:
                continue
            del entries[key][row["name"]]
            if not entries[key]:
                del entries[key]


class Journal:
    """A file of committed transactions, one line each. What was committed is there after the process is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def transactions(self) -> Iterable[list[Change]]:
        """What was committed so far, in order."""
        with self._path.open("rb") as lines:
            for line in lines:
                yield [(doctype, name, row) for doctype, name, row in orjson.loads(line)]

    def append(self, changes: Sequence[Change]) -> None:
        """Commit: one write, which a kill of this process cannot divide."""
        self._file.write(orjson.dumps(changes) + b"\n")

    def clear(self) -> None:
        """Forget everything."""
        self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
