"""UnreadRequest: what a device handed over and no adapter understood, whole, so that a later release can read it.

A request that is larger than a record may be stands in several, one for each part of its body.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from msgspec import Meta
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import OutRecord
from attendance.wire import JsonRecord, Milliseconds, Text, cloudevents_headers

Transport = Literal["push", "pull", "file", "sql"]
MAX_PART: Final = 1_200_000
"""Bytes of a body in one record: with base64 and all that stands beside them, Kafka takes it."""
MAX_PARTS: Final = 1000


class UnreadRequest(JsonRecord, frozen=True):
    """A request, or one record of a page or file, that was not understood when it came.

    `unread_id` is that of the same bytes whenever they come again. `devices` are all that the sender may have spoken
    for; `device_id` is one of them. `route` and `params` are those of the adapter that was asked, `path` is what the
    sender wrote; in all of them, in `query` and in `body`, the device's id stands where the token was. `headers` have
    lower-case names. `removed` says what was cut out of the body. `place` is the line of a file or the record of a
    page, and `options` are those by which it was read. `part` is counted from 0. `sealed` names the key that seals what
    its sender wrote, all of which then stands in `body` (`attendance.sealing`); empty where nothing is sealed.
    """

    what: ClassVar[str] = "an unread request"

    unread_id: Text
    device_id: Text
    site: str
    adapter: Text
    adapter_version: str
    transport: Transport
    received_at: Milliseconds
    reason: Reason
    message: str
    body: bytes
    method: str = ""
    path: str = ""
    route: str = ""
    params: Mapping[str, str] = {}
    query: str = ""
    headers: Mapping[str, str] = {}
    removed: tuple[str, ...] = ()
    place: str = ""
    devices: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    part: Annotated[int, Meta(ge=0, lt=MAX_PARTS)] = 0
    parts: Annotated[int, Meta(ge=1, le=MAX_PARTS)] = 1
    sealed: str = ""

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. What is not sealed says nothing of that, as before there was a key."""
        value = super().encode()
        return value if self.sealed else value.removesuffix(b',"sealed":""}') + b"}"

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.device_id.encode()

    def with_id(self) -> Self:
        """The same with the id that follows from who sent it, how, and what."""
        digest = sha256()
        for each in (self.device_id, self.transport, self.method, self.path, self.query):
            digest.update(each.encode(errors="surrogatepass") + b"\0")
        digest.update(self.body)
        return replace(self, unread_id=digest.hexdigest())

    def to_records(self, topic: str) -> list[OutRecord]:
        """The records to send, one for each part."""
        bodies = [self.body[start : start + MAX_PART] for start in range(0, len(self.body), MAX_PART)] or [b""]
        headers = cloudevents_headers(
            self.unread_id,
            b"punchstream.attendance.unread.v1",
            f"/sites/{self.site}/devices/{self.device_id}".encode(),
            self.received_at,
        )
        return [
            OutRecord(topic, self.key, replace(self, body=body, part=part, parts=len(bodies)).encode(), headers)
            for part, body in enumerate(bodies)
        ]


def joined(parts: Iterable[UnreadRequest]) -> UnreadRequest:
    """The whole request.

    Args:
        parts: Its parts in any order; the same one may be there more than once.

    Raises:
        InvalidRecord: one is missing (`undecodable_record`).
    """
    found = {each.part: each for each in parts}
    count = next(iter(found.values())).parts if found else 1
    if set(found) != set(range(count)):
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"{len(found)} of {count} parts of an unread request")
    body = b"".join(found[part].body for part in range(count))
    return replace(found[0], body=body, part=0, parts=1)
