"""What was found out or decided about an ERPNext site: the wire format of the site topic.

The topic is compacted: the newest word on a fact of a site stands.
"""

from collections.abc import Sequence
from typing import ClassVar, Final, Literal, Self

from msgspec import Struct
from msgspec.json import Decoder

from attendance.wire import KeyedRecord, Milliseconds, Text, decode_json, encode_json

ZoneState = Literal["proven", "accepted", "in_doubt"]


class ZoneKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="time_zone"):
    """The key of a site's zone: `["time_zone", site]`."""

    site: str


class SiteZone(KeyedRecord, frozen=True):
    """In which zone a site keeps its times, and how that is known.

    `proven`: a document was dated as in this zone. `accepted`: a person said so. `in_doubt`: the site says so, and a
    document that was to prove it did not; `why` says what was seen.

    `site` is the address of ERPNext. `zone` is an IANA zone. `read` is what the site said of itself then, which differs
    from `zone` only where a person decided; None where it said nothing. `by` is a process or the operating system's
    user, `document` what was looked at.
    """

    what: ClassVar[str] = "a site's zone"
    in_key: ClassVar[Sequence[str]] = ("site",)

    site: Text
    zone: Text
    state: ZoneState
    at: Milliseconds
    by: Text
    read: str | None = None
    document: str | None = None
    why: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(ZoneKey(self.site))

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: It is something else (`undecodable_record`).
        """
        return cls.decode_value(value, site=decode_key(key).site)


def decode_key(key: bytes | None) -> ZoneKey:
    """Of which site a record of the topic is.

    Raises:
        InvalidRecord: Of none (`undecodable_record`).
    """
    return decode_json(_KEY, key, SiteZone.what)


_KEY: Final = Decoder(ZoneKey)
