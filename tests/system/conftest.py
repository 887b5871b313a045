"""The product as its users have it: the installed command, in an empty directory. Nothing of it is imported here."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("punchstream"))
# What a login has; no setting of whoever runs the tests gets in.
LOGIN = ("PATH", "HOME", "TMPDIR", "JAVA_HOME", "PUNCHSTREAM_KAFKA_JARS")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def login() -> dict[str, str]:
    """The environment of a user who has set nothing, with the command on the path."""
    bare = {name: os.environ[name] for name in LOGIN if name in os.environ}
    return bare | {"PATH": f"{Path(COMMAND).parent}{os.pathsep}{bare['PATH']}"}


@pytest.fixture
def punchstream(tmp_path: Path, login: dict[str, str]) -> Run:
    """Runs `punchstream` with these arguments and settings in the test's directory, and returns when it has ended."""

    def run(*arguments: str, timeout: float = 90, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env=login | settings,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
