"""ConsoleUser and ApiToken: who may use the console, and the wire format of the topic of console users.

The topic is compacted: the newest word on a name stands, and a record without a value removes it.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Literal, Self

from msgspec import Meta, Struct
from msgspec.json import Decoder

from attendance.errors import InvalidRecord, Reason
from attendance.wire import KeyedRecord, Milliseconds, Text, decode_json, encode_json

Role = Literal["viewer", "hr", "it", "administrator"]
"""What somebody may do: look; mend what is HR's, or IT's; or all, with who may use the console."""


class ConsoleUserKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="user"):
    """The key of somebody: `["user", name]`."""

    name: Text


class ApiTokenKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="token"):
    """The key of a token: `["token", id]`."""

    id: Text


class ConsoleUser(KeyedRecord, frozen=True):
    """Somebody who may use the console.

    `password` is what argon2 made of the password, with its parameters; never the password. `epoch` is raised by
    whatever ends all sessions of theirs. `changed_by` is who changed the entry at `changed_at`, UTC: somebody of the
    console, or the operating system's user. `sites` are those that they see; None for every one.
    """

    what: ClassVar[str] = "a user of the console"
    in_key: ClassVar[Sequence[str]] = ("name",)

    name: Text
    password: Text
    changed_at: Milliseconds
    changed_by: Text
    disabled: bool = False
    epoch: Annotated[int, Meta(ge=0)] = 0
    role: Role = "viewer"
    sites: tuple[Text, ...] | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(ConsoleUserKey(self.name))

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: It is something else (`undecodable_record`).
        """
        about = decode_key(key)
        if not isinstance(about, ConsoleUserKey):
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not {cls.what}: the key is that of a token")
        return cls.decode_value(value, name=about.name)


class ApiToken(KeyedRecord, frozen=True):
    """A token by which a program uses the console's API.

    `digest` is the SHA-256 of the token, in hexadecimal digits; never the token. `name` says what it is for. `role` and
    `sites` are those of a `ConsoleUser`. It is good until `expires_at`, UTC, and for ever where that is None.
    """

    what: ClassVar[str] = "a token of the console's API"
    in_key: ClassVar[Sequence[str]] = ("id",)

    id: Text
    name: Text
    digest: Text
    made_at: Milliseconds
    made_by: Text
    role: Role = "viewer"
    sites: tuple[Text, ...] | None = None
    expires_at: Milliseconds | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(ApiTokenKey(self.id))

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: It is something else (`undecodable_record`).
        """
        about = decode_key(key)
        if not isinstance(about, ApiTokenKey):
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not {cls.what}: the key is that of a user")
        return cls.decode_value(value, id=about.id)


def decode_key(key: bytes | None) -> ConsoleUserKey | ApiTokenKey:
    """Whom a record of the topic is about.

    Raises:
        InvalidRecord: Nobody (`undecodable_record`).
    """
    about: ConsoleUserKey | ApiTokenKey = decode_json(_KEY, key, "a key of the topic of console users")
    return about


_KEY: Final[Decoder[ConsoleUserKey | ApiTokenKey]] = Decoder(ConsoleUserKey | ApiTokenKey)
