"""Reads a fleet file: YAML, in which each entry has a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.fleet_entries import Compiled, GivenEntry, compiled
from attendance.records.fleet import Kind

LISTS: Final[dict[str, Kind]] = {"sites": "site", "devices": "device", "shifts": "shift"}
"""The lists that a file may have, by their names."""


class _Loader(yaml.SafeLoader):
    """Reads YAML, in which a key that is given twice is wrong: whichever value was meant, the other one would go."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - the library's
        """Refuse a key that another one equals."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node


def load(path: Path, content: bytes | None = None) -> dict[str, Device]:
    """The devices of a fleet file, by id.

    Args:
        path: The file.
        content: What it is to hold; None for what it does.

    Raises:
        ConfigurationError: see `read`.
    """
    entries = parse(path, read_bytes(path) if content is None else content)
    return dict(whole(entries).devices)


def read_bytes(path: Path) -> bytes:
    """What a fleet file holds.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"PUNCHSTREAM_DEVICES: {path}: {error.strerror}") from error


def whole(entries: list[GivenEntry]) -> Compiled:
    """The fleet of the entries of a file, which is right as a whole.

    Raises:
        ConfigurationError: entries are wrong; a line for each fault names the file, the line and the device.
    """
    fleet = compiled(entries)
    if fleet.problems:
        raise ConfigurationError("\n".join(fleet.problems))
    return fleet


def parse(path: Path, content: bytes) -> list[GivenEntry]:
    """The entries of a fleet file, right or wrong.

    Args:
        path: The file, for errors.
        content: What it holds.

    Raises:
        ConfigurationError: it is not YAML, or no list of devices.
    """
    loader = None
    try:
        loader = _Loader(content)
        root = loader.get_single_node()
        data: Any = None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2026-02-30 is a plain ValueError
        raise ConfigurationError(f"{path}: not YAML: {error}".replace("\n", " ")) from error
    finally:
        if loader is not None:
            loader.dispose()
    if isinstance(root, yaml.SequenceNode):
        return list(_entries(path, "device", data, root))
    if not isinstance(root, yaml.MappingNode) or "devices" not in data or not data.keys() <= LISTS.keys():
        raise _no_lists(path)
    nodes = {key.value: value for key, value in root.value}
    entries: list[GivenEntry] = []
    for name, items in data.items():
        if not isinstance(items, list):
            raise _no_lists(path)
        entries += _entries(path, LISTS[name], items, nodes[name])
    return entries


def _no_lists(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path}: must be a list of devices, or hold the lists devices, sites and shifts")


def _entries(path: Path, kind: Kind, items: list[object], node: yaml.SequenceNode) -> Iterator[GivenEntry]:
    for number, (item, at) in enumerate(zip(items, node.value, strict=True), start=1):
        yield GivenEntry(kind, item, f"{path}:{at.start_mark.line + 1}", f"{kind} {number}")
