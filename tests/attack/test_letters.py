"""Lines that are none, by the hundred thousand: they cost the topics what they weigh, and not a letter each."""

from collections import Counter
from itertools import groupby

import pytest
from attacked import MEGABYTE, Answers, Attack, Attacked

from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest, joined

# What a terminal may really have meant as a punch.
UNREADABLE = b"1042 08:00 02.03.2026 in\r\n"
PUNCH = b"1042\t2026-03-02 08:00:00\t0\t15\r\n"


def upload(push: Attacked, body: bytes) -> int:
    head = (
        f"POST /iclock/cdata?SN=SN1&table=ATTLOG&Stamp=1 HTTP/1.1\r\nHost: push\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with push.connect() as connection:
        connection.settimeout(600)
        connection.sendall(head.encode() + body)
        return Answers(connection).next().status


def letters(push: Attacked) -> list[DeadLetter]:
    return [DeadLetter.decode(each.key, each.value, each.headers) for each in push.records("dead_letters")]


def kept(push: Attacked) -> Counter[bytes]:
    """Every line that is kept to be read again."""
    parts = [UnreadRequest.decode(each.value) for each in push.records("unread")]
    parts.sort(key=lambda part: part.unread_id)
    bodies = [joined(of_one).body for _, of_one in groupby(parts, key=lambda part: part.unread_id)]
    return Counter(line for body in bodies for line in body.splitlines())


@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_lines_that_are_none_fill_no_topic_and_hide_no_line_that_may_be_a_punch(attacked: Attack, count: int) -> None:
    push = attacked()
    before = push.begin()
    body = UNREADABLE + b"".join(b"no %d\r\n" % number for number in range(count)) + PUNCH
    assert upload(push, body) == 200
    cost = push.cost()
    found = letters(push)
    assert len(found) < 250 + count / 2_000
    assert sum(1 + (each.further or 0) for each in found) == count + 1
    assert found[0].message.startswith("events[0]: ")
    lines = kept(push)
    assert lines[b"1042 08:00 02.03.2026 -"] == 1, "what may be a word is no field"
    assert sum(lines[b"- %d" % number] == 1 for number in range(count)) == count
    written = sum(len(each.value or b"") for name in ("dead_letters", "unread") for each in push.records(name))
    assert written < 6 * len(body) + MEGABYTE
    assert [RawEvent.decode(each.value).device_user_id for each in push.records("raw")] == ["1042"]
    assert cost.memory - before.memory < 80 * MEGABYTE
    assert cost.cpu - before.cpu < 5 + count / 5_000
    assert len(push.log.read_bytes()) < 20_000


def test_many_requests_of_them_have_a_letter_each(attacked: Attack) -> None:
    push = attacked()
    for number in range(300):
        assert upload(push, b"".join(b"no %d of %d\r\n" % (line, number) for line in range(30))) == 200
    assert len(letters(push)) < 300 + 250
    assert sum(1 + (each.further or 0) for each in letters(push)) == 300 * 30
    assert len([line for line, times in kept(push).items() if line and times == 1]) == 300 * 30
