"""Which fields of a terminal's messages are kept where a request or a record is kept to be read again.

A message is known where it has a field for who came, or says that nobody was let in. What may let somebody in and has
no such field, is kept as it came: the person may stand in one that only a later release knows.
"""

import sys
from collections.abc import Collection, Mapping
from typing import Final

from producers.devices.common.bodies import filled, read_body, read_query, write_record
from producers.devices.common.listed import Keeper, KeptRequest, UnclearText, kept_batch, says_no_more
from producers.devices.contract import Head
from producers.devices.hfsecurity.heystar_records import (
    NUMBER_NAMES,
    RECORD_TIME_NAMES,
    is_record,
    is_refusal,
    record_payload_names,
)
from producers.devices.hfsecurity.recognition import (
    CARD_NAME,
    DEVICE_NAMES,
    ENROLMENT_NAMES,
    HOW_NAMES,
    REPORTED_NUMBERS,
    REPORTED_TEXTS,
    TIME_NAMES,
    USER_NAMES,
    no_punch,
    payload_names,
)

_TIMES: Final = (*TIME_NAMES, *RECORD_TIME_NAMES)
_LISTED: Final = (
    *(*DEVICE_NAMES, *USER_NAMES, *HOW_NAMES, *NUMBER_NAMES, *_TIMES, "createTimeStr", CARD_NAME),
    *(*REPORTED_TEXTS, *REPORTED_NUMBERS, "deviceTime", "eventType", "event", "token"),
)
_CARD_IS_THERE: Final = "-"
"""In the place of a card that nobody is known by. Whether there is one may decide what a message is about."""


class KeptFields:
    """What is kept of messages.

    Args:
        payload_fields: The vendor's fields that events keep beside the adapter's own list.
    """

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._names = frozenset((*_LISTED, *payload_names(payload_fields), *record_payload_names(payload_fields)))

    def of_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """What is kept of a request. See `ListingAdapter.kept_request`."""
        content = read_body(head.headers.get("content-type", ""), body, sys.maxsize) if body.strip() else {}
        events = content.get("events") if isinstance(content, dict) else content
        keeper, without = Keeper(self._names, _TIMES), frozenset[str]()
        try:
            if isinstance(events, list) and events:
                kept = kept_batch(
                    keeper, content, events, lambda each: _message(keeper, each, each) if is_known(each) else None
                )
            elif isinstance(content, dict):
                whole = filled(content, read_query(query))
                without = _without(whole)
                kept = _message(keeper, content, whole) if is_known(whole) else None
            else:
                kept = None
        except UnclearText:
            return None
        if kept is None:
            return None
        as_it_came = not keeper.left_out and says_no_more(body)
        return KeptRequest(body if as_it_came else write_record(kept), keeper.query(query, without), keeper.left_out)

    def of_record(self, record: object) -> object:
        """What is kept of a record that a device was asked for.

        Args:
            record: As the device wrote it.
        """
        if not isinstance(record, dict) or not is_known(record):
            return record
        return _message(Keeper(self._names, _TIMES, has_bytes=False), record, record)


def is_known(fields: Mapping[str, object]) -> bool:
    """Whether a message has a field for who came, be it empty, or says that nobody was let in.

    Args:
        fields: As the device wrote them.
    """
    if not fields.keys().isdisjoint(USER_NAMES) or _is_known_by_card(fields):
        return True
    if is_record(fields):
        return is_refusal(fields)
    if no_punch(fields, "somebody") is not None:
        return True
    return not fields.keys().isdisjoint(ENROLMENT_NAMES) and fields.keys().isdisjoint(HOW_NAMES)


def _is_known_by_card(fields: Mapping[str, object]) -> bool:
    return fields.get(CARD_NAME) not in (None, "") and fields.keys().isdisjoint(USER_NAMES)


def _without(fields: Mapping[str, object]) -> frozenset[str]:
    return frozenset() if _is_known_by_card(fields) else frozenset({CARD_NAME})


def _message(keeper: Keeper, fields: Mapping[str, object], whole: Mapping[str, object]) -> dict[str, object]:
    """What is kept of one message. `whole` is what it says together with what stands beside it."""
    found = keeper.fields(fields, _without(whole), is_dated=keeper.is_dated(whole))
    if fields.get(CARD_NAME) and found.get(CARD_NAME) is None:
        found[CARD_NAME] = _CARD_IS_THERE
    event = fields.get("event")
    if isinstance(event, dict):
        found["event"] = keeper.fields({"eventType": event["eventType"]} if "eventType" in event else {}, is_dated=True)
    return found
