"""An authority for certificates of a test's own, by `openssl`."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """Key and certificate in one file, as Apache Kafka reads them."""
        path = self.key.with_suffix(".both.pem")
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        return path


class Authority:
    """Signs certificates. Its own is what the other side has to trust."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        """Make its key and certificate in an existing directory."""
        self._directory = directory
        self._key, self.certificate = directory / f"{name}.key", directory / f"{name}.pem"
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(
        self, name: str, *alternatives: str, days: int = 30, password: str | None = None, file: str | None = None
    ) -> Certificate:
        """A new key, and a certificate for it.

        Args:
            name: The common name.
            alternatives: Names and addresses of a server, such as `DNS:localhost` and `IP:127.0.0.1`.
            days: From now on it is valid for so long; -1 has expired.
            password: Encrypts the key.
            file: What the files are called; the common name, if not given. Those of before are overwritten.
        """
        base = self._directory / (file or name)
        key, request, certificate = (base.with_name(base.name + end) for end in (".key", ".csr", ".pem"))
        extensions = base.with_name(base.name + ".ext")
        extensions.write_text(f"subjectAltName={','.join(alternatives)}\n" if alternatives else "")
        secrecy = ("-passout", f"pass:{password}") if password else ("-nodes",)
        _openssl(
            "req", "-new", "-newkey", "rsa:2048", *secrecy, "-subj", f"/CN={name}", "-keyout", key, "-out", request
        )
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", str(days), "-extfile", extensions, "-out", certificate),
        )
        return Certificate(certificate, key)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
