"""Changes of the fleet file by a command: it keeps its comments, its owner and its rights, and is always whole."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.fleet_file import load

_FIELD: Final = r"(?m)^(?P<before>[ ]*(?:-[ ]+)?)%s:[ ]*(?P<quote>[\"']?)%s(?P=quote)[ ]*(?:#.*)?$"


def add_entry(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a device to a fleet file, which keeps its comments. It is the old or the new file at any moment.

    Args:
        path: The fleet file; it is made where there is none.
        entry: The device, in the order in which its fields are to stand there.

    Raises:
        ConfigurationError: the file would be wrong, or cannot be written, or its list of devices is not its last part;
            it is unchanged.
    """
    block = yaml.safe_dump([dict(entry)], sort_keys=False)

    def added(before: str) -> str:
        indented = block
        parts = re.findall(r"(?m)^(devices|shifts):", before)
        if parts:
            if parts[-1] != "devices":
                raise ConfigurationError(f"{path}: put `devices` behind `shifts`, or add the entry by hand:\n{block}")
            indent = re.search(r"(?m)^devices:\s*\n(?:\s*#.*\n)*( *)- ", before)
            indented = "".join(f"{indent[1] if indent else '  '}{line}\n" for line in block.splitlines())
        return before + ("" if not before or before.endswith("\n") else "\n") + indented

    _change(path, added)


def set_addresses(path: Path, device: Device, addresses: Sequence[str]) -> None:
    """Have a device of a fleet file push from these addresses alone. The rest of the file stays as it is.

    Args:
        path: The fleet file.
        device: Its entry.
        addresses: Addresses and networks.

    Raises:
        ConfigurationError: the entry cannot be found, or the file would be wrong or cannot be written; it is unchanged.
    """
    line = f"addresses: [{', '.join(repr(each) for each in addresses)}]"

    def changed(before: str) -> str:
        by_hand = f"{path}: {device.device_id}: write into its entry by hand: {line}"
        found = list(re.finditer(_FIELD % ("device_id", re.escape(device.device_id)), before))
        if len(found) != 1:
            raise ConfigurationError(by_hand)
        indent = len(found[0]["before"])
        # The entry ends where a line is less indented than its fields.
        end = re.compile(rf"(?m)^[ ]{{0,{max(indent - 1, 0)}}}[^ \n#]").search(before, found[0].end())
        stop = end.start() if end else len(before)
        rest = before[found[0].end() : stop]
        old = re.search(
            rf"(?m)^[ ]{{{indent}}}addresses:.*\n?(?:[ ]{{{indent}}}[ ]*-[ ].*\n?|[ ]{{{indent + 1},}}.*\n?)*", rest
        )
        if old is not None:
            rest = rest[: old.start()] + " " * indent + line + "\n" + rest[old.end() :]
        else:
            rest = "\n" + " " * indent + line + rest
        after = before[: found[0].end()] + rest + before[stop:]
        expected = {
            **_devices(path, before),
            device.device_id: device.model_copy(update={"addresses": tuple(addresses)}),
        }
        if _devices(path, after) != expected:
            raise ConfigurationError(by_hand)
        return after

    _change(path, changed)


def _devices(path: Path, text: str) -> Mapping[str, Device]:
    return load(path, text.encode())


def _change(path: Path, edit: Callable[[str], str]) -> None:
    path = path.resolve()  # a link stays one
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with _alone(path.parent):
            before = path.stat() if path.exists() else None
            text = path.read_text(encoding="utf-8") if before else ""
            content = edit(text).encode()
            load(path, content)
            try:
                _write(new, content, before)
                if before is not None and _stamp(path.stat()) != _stamp(before):
                    raise ConfigurationError(f"{path}: somebody else has just changed it; try again")
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8") from error


def _write(new: Path, content: bytes, before: os.stat_result | None) -> None:
    """Write a file that is to take another's place: with its owner, its group and its rights, and on disk."""
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if before else 0o666)
    with os.fdopen(descriptor, "wb") as file:
        if before is not None:
            made = os.fstat(file.fileno())
            if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                # Otherwise whoever reads it now may not be able to any more.
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), before.st_mode & 0o7777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Only one command at a time: another would write what it read before."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems lock no folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
