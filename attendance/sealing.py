"""Seals what no adapter understood with a key of the operator's, so that whoever may read the topic cannot read it.

There may be several keys: the first seals, and all of them open. So a key is changed by writing a new one before it,
and is dropped once `UNREAD_DAYS` have passed.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from hashlib import sha256, sha512
from typing import Any, Final, Self

from msgspec import MsgspecError, Struct, msgpack
from msgspec.structs import replace

from attendance.errors import ConfigurationError, PunchstreamError
from attendance.records.unread import UnreadRequest
from attendance.settings import SealSettings

KEY_BYTES: Final = 32
_FORM: Final = "keys of 32 bytes in base64, separated by commas; `openssl rand -base64 32` writes one"


_ENCODE: Final = msgpack.Encoder(order="sorted").encode


class StaysSealed(PunchstreamError):
    """A request cannot be opened; the message says why."""


class _Content(Struct, frozen=True):
    """What of a request is sealed: all that its sender wrote."""

    body: bytes
    path: str
    params: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    place: str
    options: Mapping[str, Any]


class Seal:
    """Seals and opens unread requests by AES-SIV. Without a key it leaves them as they are.

    The same request is the same bytes whenever it is sealed, so that the parts of several copies fit together.

    Args:
        keys: Each of 32 bytes. The first seals.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = {_name(key): key for key in keys}
        self._first = _name(keys[0]) if keys else None

    @classmethod
    def load(cls) -> Self:
        """With the keys in `SEAL_KEY`, or in the file that `SEAL_KEY_FILE` names.

        Raises:
            ConfigurationError: they are no keys, or the file cannot be read.
        """
        settings = SealSettings.load()
        name, text = "SEAL_KEY", settings.key.get_secret_value() if settings.key else ""
        if settings.key_file is not None:
            name = "SEAL_KEY_FILE"
            try:
                text = ",".join(settings.key_file.read_text("ascii").split())
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{name}: cannot be read: {type(error).__name__}") from error
        keys = [_decoded(name, each.strip()) for each in text.split(",") if each.strip()]
        if not keys and (settings.key is not None or settings.key_file is not None):
            raise ConfigurationError(f"{name}: must hold {_FORM}")
        return cls(keys)

    def seal(self, request: UnreadRequest) -> UnreadRequest:
        """The request, of which only who has the key can read what its sender wrote.

        Args:
            request: The whole request, with its id.
        """
        if self._first is None or request.sealed:
            return request
        content = _Content(**{name: getattr(request, name) for name in _Content.__struct_fields__})
        body = _cipher(self._keys[self._first]).encrypt(_ENCODE(content), _bound(request))
        empty: dict[str, Any] = {"path": "", "params": {}, "query": "", "headers": {}, "place": "", "options": {}}
        return replace(request, sealed=self._first, body=body, **empty)

    def open(self, request: UnreadRequest) -> UnreadRequest:
        """The request as it was before it was sealed; as it is where it never was.

        Args:
            request: The whole request.

        Raises:
            StaysSealed: none of the keys is the one that sealed it, or it was changed since.
        """
        if not request.sealed:
            return request
        from cryptography.exceptions import InvalidTag

        key = self._keys.get(request.sealed)
        if key is None:
            raise StaysSealed(f"it is sealed with the key {request.sealed}, which SEAL_KEY does not have")
        try:
            content = msgpack.decode(_cipher(key).decrypt(request.body, _bound(request)), type=_Content)
        except (InvalidTag, MsgspecError, ValueError) as error:
            raise StaysSealed(f"it is sealed with the key {request.sealed}, and was changed since") from error
        return replace(request, sealed="", **{name: getattr(content, name) for name in _Content.__struct_fields__})


def _decoded(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ConfigurationError(f"{name}: must hold {_FORM}") from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{name}: must hold {_FORM}")
    return key


def _name(key: bytes) -> str:
    """What a sealed request calls the key, which says nothing of it."""
    return sha256(b"punchstream seal\0" + key).hexdigest()[:8]


def _bound(request: UnreadRequest) -> list[bytes]:
    """What a sealed content belongs to: put into another request it does not open."""
    return [request.unread_id.encode(), request.device_id.encode(errors="surrogatepass")]


def _cipher(key: bytes) -> Any:  # noqa: ANN401 - imported where a key is set alone: it is slow to load
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(sha512(b"punchstream seal\0" + key).digest())
