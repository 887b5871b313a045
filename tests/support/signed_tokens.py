"""Signs tokens (JWT, RS256) with a key of a test's own, by `openssl`; a key set (JWKS) has the public key."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, Final

ISSUER: Final = "https://id.punchstream.test"
AUDIENCE: Final = "kafka"
_KEY_ID: Final = "1"


class Signer:
    """A key, and what it signs."""

    def __init__(self, directory: Path, name: str = "tokens") -> None:
        """Make the key in an existing directory."""
        self._key = directory / f"{name}.key"
        _openssl("genrsa", "-out", str(self._key), "2048")

    def key_set(self) -> dict[str, Any]:
        """The public key, as a broker reads it."""
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID}
        return {"keys": [key | {"n": _encoded(bytes.fromhex(modulus)), "e": _encoded(b"\1\0\1")}]}

    def token(self, subject: str, issued: float, expires: float, **claims: object) -> str:
        """A token that says who somebody is.

        Args:
            subject: Who.
            issued: When it was made, in seconds since 1970.
            expires: Until when it is valid, likewise.
            claims: Others, or instead of those. None leaves one out.
        """
        right = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": round(issued), "exp": round(expires)}
        said = {name: value for name, value in (right | claims).items() if value is not None}
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        content = ".".join(_encoded(json.dumps(each).encode()) for each in (head, said))
        return f"{content}.{_encoded(_openssl('dgst', '-sha256', '-sign', str(self._key), given=content.encode()))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _openssl(*arguments: str, given: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
