"""Records as Kafka has them, and how large they may be. Loads no Kafka library."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

MAX_RECORD_BYTES: Final = 2 * 1024 * 1024  # a dead letter holds a whole request body
# A value up to here has room for the headers of a dead letter, and for what an outcome wraps around it.
MAX_VALUE_BYTES: Final = MAX_RECORD_BYTES - 64 * 1024
HEADER_BYTES: Final = 64  # what a header takes, about
RECORD_OVERHEAD: Final = 256  # what the wire adds to a record that travels alone, and more

Headers = Sequence[tuple[str, bytes]]


class OutRecord(NamedTuple):
    """A record to be sent. `partition` None leaves the choice to `partition_key`, and that None to the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    partition_key: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.key or b"") + len(self.value or b"") + HEADER_BYTES * len(self.headers)


class KeyValue(Protocol):
    """What the newest record of each key is enough for: a record of a compacted topic."""

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...


class Record(KeyValue, Protocol):
    """What a dead letter keeps of a consumed record. `timestamp` is in milliseconds since the epoch."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> int: ...

    @property
    def headers(self) -> Headers: ...
