"""`punchstream audit --metrics FILE`: what an audit came to, for the textfile collector of node_exporter."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from attendance.errors import ConfigurationError
from attendance.metric_table import TABLE, Name
from attendance.private_files import open_new

_EVERYBODY: Final = 0o644
"""The collector is another user. There are counts in it, and nobody's name."""


def write_metrics(path: Path, *, is_balanced: bool, at: float) -> None:
    """Write what an audit came to, in one step.

    Args:
        path: The file, which is replaced. The collector reads those that end in `.prom`.
        is_balanced: Whether everything has its outcome.
        at: When the audit ended, seconds since the epoch.

    Raises:
        ConfigurationError: it cannot be written.
    """
    registry = CollectorRegistry()
    values: dict[Name, float] = {"punchstream_audit_balanced": is_balanced, "punchstream_audit_timestamp_seconds": at}
    for name, value in values.items():
        Gauge(name, TABLE[name].meaning, registry=registry).set(value)
    new = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with os.fdopen(open_new(new, _EVERYBODY), "wb") as file:
            os.fchmod(file.fileno(), _EVERYBODY)  # whatever the umask says
            file.write(generate_latest(registry))
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise ConfigurationError(f"--metrics: {path}: {error.strerror}") from error
