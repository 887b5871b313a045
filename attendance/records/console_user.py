"""ConsoleUser: somebody who may use the console, and the wire format of the topic of console users.

The topic is compacted: the newest word on a name stands, and a record without a value removes it.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Self

from msgspec import Meta, Struct
from msgspec.json import Decoder

from attendance.wire import KeyedRecord, Milliseconds, Text, decode_json, encode_json


class ConsoleUserKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="user"):
    """The key of somebody: `["user", name]`."""

    name: Text


class ConsoleUser(KeyedRecord, frozen=True):
    """Somebody who may use the console.

    `password` is what argon2 made of the password, with its parameters; never the password. `epoch` is raised by
    whatever ends all sessions of theirs. `changed_by` is the operating system's user who changed the entry at
    `changed_at`, UTC.
    """

    what: ClassVar[str] = "a user of the console"
    in_key: ClassVar[Sequence[str]] = ("name",)

    name: Text
    password: Text
    changed_at: Milliseconds
    changed_by: Text
    disabled: bool = False
    epoch: Annotated[int, Meta(ge=0)] = 0

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
        return cls.decode_value(value, name=decode_key(key).name)


def decode_key(key: bytes | None) -> ConsoleUserKey:
    """Whom a record of the topic is about.

    Raises:
        InvalidRecord: Nobody (`undecodable_record`).
    """
    about: ConsoleUserKey = decode_json(_KEY, key, "a key of the topic of console users")
    return about


_KEY: Final = Decoder(ConsoleUserKey)
