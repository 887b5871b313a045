"""Which fields of a terminal's events are kept where a request or a record is kept to be read again.

An event is known where it says by a known name who came, or is of a kind that lets nobody in. What lets somebody in and
says by no known name whom, is kept as it came: a card, or another field, may be all that tells.
"""

import sys
from collections.abc import Collection
from typing import Final

from attendance.errors import InvalidRecord
from producers.devices.common.bodies import Ambiguous, given_twice, read_records, write_record
from producers.devices.common.listed import Keeper, KeptRequest, UnclearText, says_no_more
from producers.devices.common.multipart import parts_of
from producers.devices.contract import Head
from producers.devices.hikvision.events import DECIDING, KEPT, is_known, payload_names

EVENT: Final = "AccessControllerEvent"
WRAPPER: Final = "EventNotificationAlert"

_TIMES: Final = ("time", "dateTime")
_LISTED: Final = (
    *(*DECIDING, *KEPT),
    *("ipAddress", "portNo", "protocol", "macAddress", "channelID", "activePostCount", "eventState"),
    *("deviceName", "mask", "picturesNumber"),
)
_MOST_ENCODED: Final = 16
"""Parts that may stand in a body in other words, as base64 does: for each the whole body is looked through."""


class KeptFields:
    """What is kept of events.

    Args:
        payload_fields: The vendor's fields that events keep beside the adapter's own list.
    """

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._names = frozenset((*_LISTED, *payload_names(payload_fields)))

    def of_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """What is kept of a request. See `ListingAdapter.kept_request`.

        A document of XML is kept as JSON, which is read as the same.
        """
        found = parts_of(head.headers.get("content-type", ""), body, sys.maxsize)
        documents = [body] if found is None else [part.content for part in found.parts if not part.is_picture]
        keeper = Keeper(self._names, _TIMES)
        pieces: list[bytes] = []
        at = missed = 0
        for document in documents:
            content = self._document(keeper, document)
            if content is None:
                continue
            start = body.find(document, at)
            if start >= 0:
                pieces += [body[at:start], content]
                at = start + len(document)
            elif (missed := missed + 1) > _MOST_ENCODED:
                break
        if not pieces:
            return None
        return KeptRequest(b"".join([*pieces, body[at:]]), keeper.query(query) if query else query, keeper.left_out)

    def of_alert(self, record: object) -> object:
        """What is kept of a record that a terminal was asked for.

        Args:
            record: As the terminal wrote it.
        """
        return self._alert(Keeper(self._names, _TIMES, has_bytes=False), record)

    def _document(self, keeper: Keeper, document: bytes) -> bytes | None:
        """What is kept of a document; None where nothing in it is known."""
        before = keeper.left_out
        try:
            contents = read_records(document, WRAPPER, sys.maxsize)
            kept = [self._alert(keeper, each) for each in contents]
        except (InvalidRecord, UnclearText):
            return None
        if all(new is old for new, old in zip(kept, contents, strict=True)):
            return None
        if keeper.left_out == before and says_no_more(document):
            return None
        return write_record(kept[0] if len(kept) == 1 else kept)

    def _alert(self, keeper: Keeper, alert: object) -> object:
        """What is kept of an alert with its event, or with a list of them; the alert itself where it is not known."""
        if not isinstance(alert, dict) or given_twice(alert, (EVENT,)):
            return alert
        inner = alert.get(EVENT, {})
        events = inner if isinstance(inner, list) else [inner]
        whole = [alert | each for each in events if isinstance(each, dict)]
        if not events or len(whole) < len(events) or not all(map(is_known, whole)):
            return alert
        is_dated = all(map(keeper.is_dated, whole))
        kept = [keeper.fields(each, is_dated=is_dated) for each in events]
        empty = {**alert, EVENT: None} if EVENT in alert else {**alert}
        if isinstance(alert, Ambiguous):
            empty = Ambiguous(empty, alert.names, alert.others)
        around = keeper.fields(empty, is_dated=is_dated)
        if EVENT in alert:
            around[EVENT] = kept if isinstance(inner, list) else kept[0]
        return around
