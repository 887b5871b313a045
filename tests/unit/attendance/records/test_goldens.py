"""Every record on every topic against its golden file: the bytes that other processes and older versions know."""

import pytest
from example_records import ENVELOPES, EXAMPLES, GOLDEN, TOPICS, golden

from attendance.records.account import AcceptedLoss, Account, Adoption
from attendance.records.account import decode as decode_account
from attendance.records.console_user import ApiToken, ConsoleUser
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action
from attendance.records.fleet import DevicePause, FleetEntry
from attendance.records.sequences import Sequences
from attendance.records.site import SiteZone
from attendance.records.terminals import Stamps, StampsKey, decode_stamps
from attendance.records.terminals import decode_key as decode_terminal_key
from attendance.records.user_map import Employee, ErasedEmployee, IgnoredUser, UserMapping, decode, decode_key
from attendance.topics import TABLE


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_record_is_written_as_its_golden_file_has_it(name: str) -> None:
    topic, record = EXAMPLES[name]
    written = golden(name)
    assert (TOPICS[topic], record.key, record.encode()) == (written.topic, written.key, written.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_golden_file_is_read_as_the_record_that_it_was(name: str) -> None:
    _, record = EXAMPLES[name]
    written = golden(name)
    match record:
        case UserMapping() | IgnoredUser() | Employee() | ErasedEmployee():
            read = decode(decode_key(written.key), written.value)
        case Account() | AcceptedLoss() | Adoption():
            read = decode_account(written.key, written.value)
        case Action() | ApiToken() | ConsoleUser() | DevicePause() | FleetEntry() | Sequences() | SiteZone():
            read = type(record).decode(written.key, written.value)
        case Stamps():
            key = decode_terminal_key(written.key)
            assert isinstance(key, StampsKey)
            read = decode_stamps(key, written.value)
        case _:
            read = type(record).decode(written.value)
    assert read == record


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_record_is_sent_with_the_headers_of_its_golden_file(name: str) -> None:
    record, written = ENVELOPES[name], golden(name)
    assert (record.topic, record.key, record.value) == (written.topic, written.key, written.value)
    assert tuple(record.headers) == written.headers


@pytest.mark.parametrize("name", ["dead-letter", "dead-letter-request", "dead-letter-unread", "dead-letter-further"])
def test_a_dead_letter_is_read_from_its_golden_file(name: str) -> None:
    written = golden(name)
    letter = DeadLetter.decode(written.key, written.value, written.headers)
    assert letter.to_record(written.topic) == ENVELOPES[name]._replace(headers=list(written.headers))


def test_every_topic_has_a_golden_file_but_the_probe_that_nobody_reads() -> None:
    topics = {golden(path.stem).topic for path in GOLDEN.iterdir()}
    assert topics == {TOPICS[name] for name in TABLE if name != "probe"}


def test_no_golden_file_is_left_out_but_the_deduplication_state() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == EXAMPLES.keys() | ENVELOPES.keys() | {
        "dedup-state",
        "dedup-state-floor",
        "dedup-state-erased",
    }
