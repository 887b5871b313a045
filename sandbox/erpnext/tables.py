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
            indexes: By name, the function that gives a row's key. One named like a field serves filters on it.
        """
        self.fields = list(fields)
        self.rows: dict[str, Row] = {}
        self._keys: dict[str, Key] = dict(indexes or {})
        self._indexes: dict[str, dict[Any, list[str]]] = {index: {} for index in self._keys}

    def put(self, row: Row) -> None:
        """Store a row, in the place of the one with its name."""
        name = row["name"]
        if name in self.rows:
            self._unindex(self.rows[name])
        self.rows[name] = row
        for index, key in self._keys.items():
            self._indexes[index].setdefault(key(row), []).append(name)

    def remove(self, name: str) -> None:
        """Take a row out."""
        self._unindex(self.rows.pop(name))

    def add_index(self, index: str, key: Key) -> None:
        """One more index, over what is there and what will come."""
        self._keys[index] = key
        entries = self._indexes[index] = {}
        for name, row in self.rows.items():
            entries.setdefault(key(row), []).append(name)

    def find(self, index: str, key: Value) -> list[str]:
        """The names of the rows with that key."""
        return self._indexes[index].get(key, [])

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

    def _unindex(self, row: Row) -> None:
        for index, key in self._keys.items():
            entries = self._indexes[index]
            names = entries[key(row)]
            names.remove(row["name"])
            if not names:
                del entries[key(row)]


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
