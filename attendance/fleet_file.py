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


# In C it takes less time, for which the other threads of a stage wait.
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST: Final = 50
"""Lists and mappings within one another. Composing them takes the stack of the process."""
_MOST_NODES: Final = 2_000_000
"""Of a file whose aliases are followed. Some lines of aliases may stand for more than any memory holds."""


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
        _check_depth(content)
        loader = _Loader(content)
        root = loader.get_single_node()
        if root is not None:
            _weight(root, {})
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


def _check_depth(content: bytes) -> None:
    depth = 0
    for event in yaml.parse(content, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"nested more than {_DEEPEST} deep")


def _weight(node: yaml.Node, weights: dict[int, int]) -> int:
    """How many nodes a node stands for, where aliases are followed. A key that is given twice is wrong.

    Whichever value of such a key was meant, the other one would go.

    Args:
        node: The node.
        weights: Of the nodes that are known, by their identity; 0 for those that the node stands in.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    known = weights.get(id(node))
    if known == 0:
        raise ConstructorError(None, None, "an alias stands in what it stands for", node.start_mark)
    if known is None:
        weights[id(node)] = 0
        known = 1
        seen: set[tuple[str, str]] = set()
        for each in node.value:
            key, child = each if isinstance(node, yaml.MappingNode) else (None, each)
            known += _weight(child, weights)
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add((key.tag, key.value))
        if known > _MOST_NODES:
            raise ConstructorError(None, None, f"more than {_MOST_NODES:,} values", node.start_mark)
        weights[id(node)] = known
    return known
