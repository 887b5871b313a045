"""A PostgreSQL of a test's own: Debian's package postgresql, on 127.0.0.1, as a user who is not root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from sandbox.ports import free_port

_USERS: Final = ("postgres", "nobody")


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    if found is not None and Path(found).resolve().parent.name == "bin":
        return Path(found).resolve()
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return newest[-1] if newest else None


def unavailable_reason() -> str | None:
    """One line that says what is missing on this machine, or None."""
    if _program("initdb") is None or _program("postgres") is None:
        return "PostgreSQL needs `initdb` and `postgres`, of Debian's package postgresql"
    return None


class Postgres:
    """A server that begins with no databases of ours. It runs in a `with`."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="punchstream-postgres-"))
        self._port = free_port()
        self._made = 0
        self._owner: dict[str, object] = {}
        if os.getuid() == 0:
            # The server refuses root.
            user = next(pwd.getpwnam(name) for name in _USERS if name in {each.pw_name for each in pwd.getpwall()})
            os.chown(self._directory, user.pw_uid, user.pw_gid)
            self._owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        data = self._directory / "data"
        self._run("initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = ["-h", "127.0.0.1", "-p", str(self._port), "-k", self._directory, "-F"]
        command = [_program("postgres"), "-D", data, *options]
        log = (self._directory / "log").open("wb")
        self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory, **self._owner)  # type: ignore[call-overload]
        log.close()
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self._port), "-t", "30", tries=100)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._directory, ignore_errors=True)

    def new_database(self) -> str:
        """The URL of a database that nobody has used."""
        self._made += 1
        name = f"ledger{self._made}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "test", name)
        return f"postgresql://test@127.0.0.1:{self._port}/{name}"

    def _run(self, program: str, *arguments: object, tries: int = 1) -> None:
        command = [str(_program(program)), *map(str, arguments)]
        for _ in range(tries):
            done = subprocess.run(command, capture_output=True, cwd=self._directory, check=False, **self._owner)  # type: ignore[call-overload]
            if done.returncode == 0:
                return
            if self._process is not None and self._process.poll() is not None:
                break
        raise AssertionError(f"{command}: {done.stdout.decode()} {done.stderr.decode()}")
