"""A PostgreSQL of a test's own: Debian's package postgresql, on 127.0.0.1, as a user who is not root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from sandbox.ports import free_port
from sandbox.process import ChildProcess

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
    """A server that begins with no databases of ours. It runs in a `with`, and may be killed and started in between."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="punchstream-postgres-"))
        self.port = free_port()
        self._made = 0
        self._as_owner: list[str] = []
        if os.getuid() == 0:
            # The server refuses root.
            user = next(pwd.getpwnam(name) for name in _USERS if name in {each.pw_name for each in pwd.getpwall()})
            os.chown(self._directory, user.pw_uid, user.pw_gid)
            # Who changes its user is not told any more that its parent has ended, unless it asks again.
            owner = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=KILL"]
            self._as_owner = ["setpriv", *owner]
        program, options = _program("postgres"), ["-h", "127.0.0.1", "-p", self.port, "-k", self._directory, "-F"]
        command = [*self._as_owner, str(program), "-D", str(self._directory / "data"), *map(str, options)]
        self.process = ChildProcess(command, log_file=self._directory / "log")

    def __enter__(self) -> Self:
        data = self._directory / "data"
        self._run("initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start the server, and return when it answers."""
        self.process.start()
        self.process.wait_until_ready(self._answers, timeout=60)

    def _answers(self) -> bool:
        return self._ask("pg_isready", "-h", "127.0.0.1", "-p", self.port, "-t", 1).returncode == 0

    def new_database(self) -> str:
        """The URL of a database that nobody has used."""
        self._made += 1
        name = f"ledger{self._made}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "test", name)
        return f"postgresql://test@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: object) -> None:
        done = self._ask(program, *arguments)
        assert done.returncode == 0, f"{done.args}: {done.stdout.decode()} {done.stderr.decode()}"

    def _ask(self, program: str, *arguments: object) -> "subprocess.CompletedProcess[bytes]":
        command = [*self._as_owner, str(_program(program)), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, cwd=self._directory, check=False)
