"""Where a terminal is to go on, which zone it is to have, and of which kind it is."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.fleet import Device
from attendance.records.terminals import RESET
from producers.devices.contract import Head, Parsed, PushRequest
from producers.devices.zkteco.adms import ZktecoAdms
from producers.devices.zkteco.adms_handshake import STAMP, reset_to

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
NEWEST = datetime(2026, 11, 28, 5, 0, 2, tzinfo=UTC)  # 08:00:02 at the terminal
LOCAL = int(NEWEST.timestamp()) + 3 * 3600
COUNTED = (26 * 372 + 10 * 31 + 27) * 86400 + 8 * 3600 + 2
WEEK_BEFORE = (26 * 372 + 10 * 31 + 20) * 86400 + 8 * 3600 + 2
BODY = b"417\t2026-11-28 07:00:00\t0\n418\t2026-11-28 08:00:02\t0\n"


class Terminal:
    """A terminal, and what is remembered of it from one request to the next."""

    def __init__(self, zone: str = "Asia/Riyadh") -> None:
        self.device = Device(device_id="GATE", site="hq", timezone=zone, adapter="zkteco_adms", serial="SN1")
        self.stamps: dict[str, str] = {}

    def ask(self, method: str, path: str, body: bytes = b"", at: datetime = AT) -> Parsed:
        url = urlsplit(path)
        head = Head(method, f"/iclock/{url.path}", {}, {"SN": "SN1", **dict(parse_qsl(url.query))}, {})
        parsed = ZktecoAdms(()).parse(PushRequest(head, body, at, dict(self.stamps)), {"GATE": self.device})
        self.stamps |= parsed.stamps
        return parsed

    def posts(self, stamp: str | None, body: bytes = BODY, table: str = "table=ATTLOG") -> None:
        self.ask("POST", f"cdata?{table}" + ("" if stamp is None else f"&Stamp={stamp}"), body)

    def hears(self, at: datetime = AT, query: str = "options=all") -> Mapping[str, str]:
        lines = self.ask("GET", f"cdata?{query}", at=at).answer.body.decode().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize(
    ("posted", "given_back"),
    [
        # A time that came with it counts as it is, by each of the three clocks that firmware counts by.
        (int(NEWEST.timestamp()), int(NEWEST.timestamp())),
        (int(NEWEST.timestamp()) - 60, int(NEWEST.timestamp()) - 60),
        (COUNTED, COUNTED),
        # One that is further ahead than what came with it, as when older punches are still to come.
        (int(AT.timestamp()), int(NEWEST.timestamp())),
        (LOCAL, int(NEWEST.timestamp())),
        (COUNTED + 5 * 86400, COUNTED),
        # No time: only the terminal knows what it is.
        ("812", "812"),
        ("20261128080002", "20261128080002"),
        ("20371128080002", "20261128080002"),
        ("a7F", "a7F"),
        # None, or what stands for none.
        (None, WEEK_BEFORE),
        ("9999", WEEK_BEFORE),
        ("0", WEEK_BEFORE),
        ("None", WEEK_BEFORE),
        ("99999999", WEEK_BEFORE),
        # What can be given back in no form.
        ("2026-11-28 08:00:02", WEEK_BEFORE),
        ("x" * 40, WEEK_BEFORE),
    ],
)
@pytest.mark.parametrize("table", ["table=ATTLOG", "table=attlog", ""])
def test_a_stamp_counts_as_far_as_what_came_with_it(posted: object, given_back: object, table: str) -> None:
    terminal = Terminal()
    terminal.posts(None if posted is None else str(posted), table=table)
    assert terminal.hears()[STAMP] == terminal.hears()["Stamp"] == str(given_back)


@pytest.mark.parametrize("stamp", ["4000000000", "4999999999", "123456789012", "9999999999z", "8" * 32])
def test_what_is_beyond_any_time_is_not_given_back(stamp: str) -> None:
    terminal = Terminal()
    terminal.posts(stamp)
    assert terminal.hears()[STAMP] == str(WEEK_BEFORE)


@pytest.mark.parametrize(
    "posted", ["2114380800", str(COUNTED + 5 * 86400), "20371128080002", str(int(AT.timestamp()) + 600)]
)
def test_no_stamp_is_later_than_its_arrival_though_a_punch_that_came_with_it_is(posted: str) -> None:
    def counted(moment: datetime) -> int:
        days = (moment.year - 2000) * 372 + (moment.month - 1) * 31 + moment.day - 1
        return days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second

    terminal, local = Terminal(), AT + timedelta(hours=3)
    line = f"417\t{AT + timedelta(hours=3, minutes=9):%Y-%m-%d %H:%M:%S}\t255\n"
    terminal.posts(posted, line.encode())
    given_back = terminal.hears()[STAMP]
    assert given_back in (str(counted(local)), str(int(AT.timestamp())), f"{local:%Y%m%d%H%M%S}")


def test_a_number_counts_as_far_as_punches_came_since_the_number_before() -> None:
    terminal = Terminal()
    for posted, given_back in (("812", "812"), ("814", "814"), ("300000", "816"), ("817", "817"), ("40", "40")):
        terminal.posts(posted)
        assert terminal.hears()[STAMP] == given_back


def test_a_stamp_that_was_reset_is_moved_by_no_upload_until_the_terminal_has_heard_it() -> None:
    terminal = Terminal()
    terminal.posts(str(COUNTED))
    terminal.stamps |= {STAMP: reset_to(datetime(2026, 11, 1, 8, tzinfo=UTC)), RESET: "2026-11-28T06:00:00Z"}

    terminal.posts(str(COUNTED))
    assert terminal.hears()[STAMP] == str((26 * 372 + 10 * 31) * 86400 + 8 * 3600)
    terminal.posts(str(COUNTED))
    assert terminal.hears()[STAMP] == str(COUNTED)
    assert reset_to(None) == "0"


def test_a_stamp_is_taken_under_the_name_of_either_firmware() -> None:
    for name, stamp in (("ATTLOGStamp", "812"), ("attlogstamp", "813"), ("STAMP", "814")):
        terminal = Terminal()
        terminal.posts(None, table=f"table=ATTLOG&{name}={stamp}")
        assert terminal.hears()[STAMP] == stamp
    terminal.posts(None, table="table=ATTLOG&OpStamp=815")
    assert terminal.hears()[STAMP] == str(WEEK_BEFORE)


def test_a_stamp_may_go_back_as_after_a_memory_that_was_cleared() -> None:
    terminal = Terminal()
    for stamp in ("812", "3"):
        terminal.posts(stamp)
        assert terminal.hears()[STAMP] == stamp


@pytest.mark.parametrize("time", ["2000-01-01 00:00:09", "2000-01-03 12:00:00", "860000000", "0001-01-05 00:00:00"])
@pytest.mark.parametrize("stamp", ["9999", "1795842002", None])
def test_a_clock_that_lost_its_battery_makes_no_stamp_that_means_far_away(time: str, stamp: str | None) -> None:
    terminal = Terminal("America/New_York")
    terminal.posts(stamp, f"417\t{time}\t0\n".encode())
    given_back = int(terminal.hears()[STAMP])
    assert 0 <= given_back < int(datetime(2000, 1, 5, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("body", [b"", b"garbage\n", b"0\t2026-11-28 08:00:02\t0\n", b"417\tnever\t0\n"])
def test_a_stamp_that_comes_with_no_punch_changes_nothing(body: bytes) -> None:
    terminal = Terminal()
    terminal.posts("1795842002", body)
    assert terminal.hears()[STAMP] == "0"
    terminal.posts("812")
    terminal.posts("813", body)
    assert terminal.hears()[STAMP] == "812"


def test_a_punch_from_the_future_holds_back_none_that_is_to_come() -> None:
    terminal = Terminal()
    terminal.posts("9999", BODY + b"419\t2037-01-01 00:00:00\t0\n")
    assert terminal.hears()[STAMP] == str(WEEK_BEFORE)
    terminal.posts("2114380800", BODY + b"419\t2037-01-01 00:00:00\t0\n")
    assert terminal.hears()[STAMP] == str(int(NEWEST.timestamp()))


def test_what_an_earlier_release_remembered_for_none_is_none() -> None:
    terminal = Terminal()
    terminal.stamps = {STAMP: "9999"}
    assert terminal.hears()[STAMP] == "0"


@given(st.text(max_size=40) | st.integers(0, 5 * 10**9).map(str))
def test_whatever_is_posted_the_answer_is_one_line_and_no_later_than_the_newest_punch(stamp: str) -> None:
    terminal = Terminal()
    head = Head("POST", "/iclock/cdata", {}, {"SN": "SN1", "table": "ATTLOG", "Stamp": stamp}, {})
    terminal.stamps |= ZktecoAdms(()).parse(PushRequest(head, BODY, AT), {"GATE": terminal.device}).stamps
    given_back = terminal.hears()[STAMP]
    assert given_back.isascii()
    assert given_back.isalnum()
    if given_back.isdecimal() and 320_000_000 <= int(given_back) < 4_000_000_000:
        assert int(given_back) <= (COUNTED if int(given_back) < 1_447_000_000 else int(NEWEST.timestamp()))


class TestZone:
    BEFORE = datetime(2026, 10, 25, 0, 59, 50, tzinfo=UTC)  # Berlin goes from +2 to +1 at 01:00 UTC

    def polls(self, terminal: Terminal, at: datetime) -> bytes:
        return terminal.ask("GET", "getrequest", at=at).answer.body

    def test_a_change_of_clocks_has_a_terminal_connect_anew_and_fetch_its_zone(self) -> None:
        terminal = Terminal("Europe/Berlin")
        assert terminal.hears(self.BEFORE)["TimeZone"] == "2"
        assert self.polls(terminal, self.BEFORE) == b"OK"
        after = self.BEFORE + timedelta(seconds=20)
        asked = self.polls(terminal, after)
        assert asked == b"C:zone%d:CHECK\n" % after.timestamp()
        assert not terminal.ask("POST", "devicecmd", asked.replace(b"C:", b"ID=")[:-7] + b"&Return=0&CMD=CHECK").results
        assert terminal.hears(after)["TimeZone"] == "1"
        assert self.polls(terminal, after + timedelta(hours=2)) == b"OK"

    def test_one_that_does_not_come_is_asked_once_an_hour(self) -> None:
        terminal = Terminal("Europe/Berlin")
        terminal.hears(self.BEFORE)
        moments = [self.BEFORE + timedelta(minutes=20 * number) for number in range(1, 8)]
        assert [b"CHECK" in self.polls(terminal, moment) for moment in moments] == [True, False, False] * 2 + [True]

    def test_a_terminal_whose_zone_is_not_known_is_left_alone(self) -> None:
        assert self.polls(Terminal("Europe/Berlin"), self.BEFORE) == b"OK"


class TestKind:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "registry"),
            ("POST", "push"),
            ("POST", "cdata?table=rtlog"),
            ("POST", "cdata?table=rtstate"),
            ("GET", "cdata?options=all&DeviceType=acc"),
        ],
    )
    def test_a_terminal_that_was_one_for_access_still_is(self, method: str, path: str) -> None:
        terminal = Terminal()
        assert "registry" not in terminal.hears()
        terminal.ask(method, path)
        assert terminal.hears()["registry"] == "ok"
        assert "registry" not in terminal.hears(query="options=all&DeviceType=att")
        assert "registry" not in terminal.hears()

    @pytest.mark.parametrize(
        ("query", "kind"),
        [
            ("options=all&pushver=3.1.2", "access"),
            ("options=all&pushver=2.4.1", "attendance"),
            ("options=all&pushver=3.1.2&DeviceType=att", "attendance"),
            ("options=all&DeviceType=ACC", "access"),
            ("options=all&DeviceType=pid", "attendance"),
        ],
    )
    def test_of_one_that_is_new_its_protocol_decides(self, query: str, kind: str) -> None:
        assert ("access" if "registry" in Terminal().hears(query=query) else "attendance") == kind
