"""Unread requests: one id for the same bytes, and large ones in several records."""

from itertools import chain

import pytest
from example_records import ARRIVED, TOPICS, UNREAD
from msgspec.structs import replace

from attendance.errors import InvalidRecord
from attendance.kafka.records import MAX_VALUE_BYTES
from attendance.records.unread import MAX_PART, UnreadRequest, joined

LARGE = replace(UNREAD, body=bytes(range(256)) * 12_000).with_id()


def parts(request: UnreadRequest) -> list[UnreadRequest]:
    return [UnreadRequest.decode(record.value) for record in request.to_records(TOPICS["unread"])]


def test_the_same_bytes_have_the_same_id_whenever_they_come() -> None:
    later = replace(UNREAD, received_at=ARRIVED.replace(year=2027), message="another release says it otherwise")
    assert later.with_id().unread_id == UNREAD.unread_id


@pytest.mark.parametrize("other", [{"body": b"{}"}, {"query": ""}, {"path": "/hf/riyadh-01"}, {"device_id": "gate"}])
def test_anything_else_has_another_id(other: dict[str, object]) -> None:
    assert replace(UNREAD, **other).with_id().unread_id != UNREAD.unread_id


def test_a_request_that_is_too_large_for_a_record_is_whole_again_from_several() -> None:
    found = parts(LARGE)
    assert len(found) > 1
    assert joined(found) == joined([*reversed(found), *found]) == LARGE


def test_each_part_fits_into_a_record() -> None:
    records = LARGE.to_records(TOPICS["unread"])
    assert all(len(record.value or b"") <= MAX_VALUE_BYTES for record in records)
    assert {record.key for record in records} == {b"riyadh-01"}


def test_a_request_without_a_body_is_one_record() -> None:
    assert joined(parts(replace(UNREAD, body=b""))).body == b""


def test_a_part_that_is_missing_is_noticed() -> None:
    first, *_ = parts(LARGE)
    for incomplete in ([first], parts(LARGE)[1:], []):
        with pytest.raises(InvalidRecord, match="parts of an unread request"):
            joined(incomplete)


def test_parts_are_cut_where_the_one_before_ends() -> None:
    assert bytes(chain.from_iterable(each.body for each in parts(LARGE))) == LARGE.body
    assert len(parts(LARGE)[0].body) == MAX_PART
