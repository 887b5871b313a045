"""A Kerberos realm of a test's own: MIT's key distribution center, of Debian's package krb5-kdc, on 127.0.0.1."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, Self

from sandbox.ports import free_port
from sandbox.process import ChildProcess

REALM: Final = "PUNCHSTREAM.TEST"
TICKET_SECONDS: Final = 10
PROGRAMS: Final = ("krb5kdc", "kdb5_util", "kadmin.local")
_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def unavailable_reason() -> str | None:
    """One line that says what is missing on this machine, or None."""
    for program in PROGRAMS:
        if shutil.which(program, path=_PATH) is None:
            return f"Kerberos needs `{program}`, of Debian's packages krb5-kdc and krb5-admin-server"
    try:
        import gssapi  # noqa: F401
    except ImportError:
        return "Kerberos needs the package gssapi: make kerberos"
    return None


class KeyDistribution:
    """A realm that knows whom it is told of, and gives them tickets."""

    def __init__(self, directory: Path) -> None:
        """Makes the realm in an existing directory; begins to answer in a `with`."""
        self._directory, port = directory, free_port()
        self.config = directory / "krb5.conf"
        self.config.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n"
            f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
        )
        profile = directory / "kdc.conf"
        profile.write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n"
            f"[realms]\n {REALM} = {{\n  database_name = {directory}/principal\n"
            f"  key_stash_file = {directory}/stash\n }}\n[logging]\n kdc = STDERR\n admin_server = STDERR\n"
        )
        self._environment = os.environ | {
            "PATH": _PATH,
            "KRB5_CONFIG": str(self.config),
            "KRB5_KDC_PROFILE": str(profile),
        }
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "a test")
        krb5kdc = shutil.which("krb5kdc", path=_PATH)
        assert krb5kdc is not None
        self._process = ChildProcess(
            [krb5kdc, "-n", "-P", directory / "pid"],
            log_file=directory / "krb5kdc.log",
            env=self._environment,
        )

    def __enter__(self) -> Self:
        self._process.start()
        self._process.wait_until_ready(lambda: "commencing operation" in self._process.log_tail(), timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def keytab(self, principal: str) -> Path:
        """Make a principal, whose tickets are valid for some seconds. Returns the file that it proves itself with."""
        path = self._directory / f"{principal.replace('/', '_')}.keytab"
        path.unlink(missing_ok=True)
        self._run("kadmin.local", "-q", f"addprinc -maxlife {TICKET_SECONDS}s -randkey {principal}")
        self._run("kadmin.local", "-q", f"ktadd -k {path} {principal}")
        return path

    def logins(self, principal: str) -> int:
        """How often a principal has proved who it is."""
        lines = (self._directory / "krb5kdc.log").read_text().splitlines()
        return sum("AS_REQ" in line and "ISSUE" in line and f" {principal}@" in line for line in lines)

    def variables(self, keytab: Path) -> dict[str, str]:
        """The environment of a process that logs in by a keytab."""
        cache = keytab.with_suffix(".cache")
        return {
            "KRB5_CONFIG": str(self.config),
            "KRB5_CLIENT_KTNAME": str(keytab),
            "KRB5CCNAME": f"FILE:{cache}",
        }

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
