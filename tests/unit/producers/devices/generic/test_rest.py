"""The REST interface that the registry describes: what is asked, what is made of it, what is refused at the start."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable, Reason, UnreadableAnswer
from attendance.fleet import Device
from producers.devices import check_entry
from producers.devices.common.options import read_options
from producers.devices.contract import Cursor, Fetch, Page, Tools
from producers.devices.generic.rest.adapter import Rest
from producers.devices.generic.rest.options import RestOptions
from producers.devices.generic.rest.records import dig
from sandbox.terminals.base import PHOTO, Punch
from sandbox.terminals.rest import NumberedRest, PagedRest

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
BY_TIME: dict[str, Any] = {
    "path": "/log",
    "query": {"from": "{from}", "to": "{to}"},
    "fields": {"user": "user", "time": "time"},
}
BY_NUMBER: dict[str, Any] = {
    "path": "/log",
    "query": {"after": "{cursor}"},
    "fields": {"user": "user", "time": "time", "sequence": "id"},
    "cursor": {"by": "number", "overlap": 2},
}


def device(options: dict[str, Any], **fields: Any) -> Device:
    return Device.model_validate(
        {
            "device_id": "D1",
            "site": "HQ",
            "timezone": "Asia/Riyadh",
            "mode": "pull",
            "adapter": "rest",
            "host": "10.0.0.9",
            "options": options,
            **fields,
        }
    )


@dataclass
class Server:
    """Answers with what `respond` says, and remembers what it was asked."""

    respond: Callable[[httpx.Request], Any]
    options: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    terminals: dict[str, Device] = field(default_factory=dict)
    payload: Sequence[str] = ()
    asked: list[httpx.Request] = field(default_factory=list)

    def fetch(self, cursor: Cursor | None = None, since: datetime | None = None) -> list[Page]:
        """Every page of a fetch."""
        seen: list[Page] = []
        self.fetch_into(seen, cursor, since)
        return seen

    def fetch_into(self, seen: list[Page], cursor: Cursor | None = None, since: datetime | None = None) -> None:
        """Add the pages to those seen, so that they are there when it fails."""

        async def scenario() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(self._handle)) as http:
                adapter = Rest(Tools(http, lambda _, name: f"secret-{name}", self.payload))
                wanted = Fetch(device(self.options, **self.fields), self.terminals, cursor, since, NOW)
                async for page in adapter.fetch(wanted):
                    seen.append(page)  # noqa: PERF401 - pages before a failure count

        asyncio.run(scenario())

    def _handle(self, request: httpx.Request) -> httpx.Response:
        assert len(self.asked) < 50, "it asks for ever"
        self.asked.append(request)
        said = self.respond(request)
        return said if isinstance(said, httpx.Response) else httpx.Response(200, json=said)

    def queries(self, name: str) -> list[str]:
        return [request.url.params[name] for request in self.asked]


def users(pages: Sequence[Page]) -> list[str]:
    return [event.device_user_id for page in pages for event in page.events]


def record(user: str, time: object = "2026-11-20T08:00:00", **more: Any) -> dict[str, Any]:
    return {"user": user, "time": time, **more}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "log"}, "options.path"),
        ({"path": "//elsewhere/log"}, "options.path"),
        ({"path": "/log?a=b"}, "options.path"),
        ({"fields": {"user": "user"}}, "options.fields.time: Field required"),
        ({"fields": None}, "options.fields"),
        ({"colour": "red"}, "options.colour"),
        ({"query": {"from": "{form}"}}, "no such placeholder: form"),
        ({"query": {}}, "a cursor by time needs {from}"),
        ({"cursor": {"by": "number"}}, "a cursor by number needs {cursor}"),
        (
            {"cursor": {"by": "number"}, "query": {"after": "{cursor}"}},
            "a cursor by number needs fields.sequence",
        ),
        ({"paging": {"by": "page"}}, "paging by page needs {page}"),
        ({"paging": {"by": "offset"}}, "paging by offset needs {offset}"),
        ({"paging": {"by": "next"}}, "needs paging.next"),
        ({"paging": {"by": "none", "next": "links.next"}}, "needs paging.next"),
        ({"body": {"from": "{from}"}}, "a body needs method POST"),
        ({"time_format": "%d/%m"}, "options.time_format"),
        ({"time_format": "%I:%M %d/%m/%Y"}, "leaves out a part of the time"),
        ({"timezone": "Asia/Atlantis"}, "options.timezone"),
        ({"directions": {"0": "SIDEWAYS"}}, "options.directions.0"),
        ({"auth": "digest"}, "options.auth"),
        ({"auth_header": "X-Key: a"}, "options.auth_header"),
        ({"paging": {"by": "page", "size": 0}}, "options.paging.size"),
    ],
)
def test_a_wrong_option_is_named_with_its_device(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_options(device(BY_TIME | change), RestOptions)
    assert str(raised.value).startswith("D1: options")
    assert message in str(raised.value)


def test_an_entry_without_a_host_cannot_work() -> None:
    with pytest.raises(ConfigurationError, match="D1: host: is needed"):
        check_entry("pull", device(BY_TIME, host=None))


def test_a_number_in_yaml_is_a_state() -> None:
    assert read_options(device(BY_TIME | {"directions": {0: "IN"}}), RestOptions).directions == {"0": "IN"}


@pytest.mark.parametrize(
    ("form", "begin"),
    [
        ("iso", "2026-11-20T07:50:00Z"),
        ("epoch", "1795161000"),
        ("epoch_ms", "1795161000000"),
        ("%d/%m/%Y %H:%M:%S", "20/11/2026 10:50:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-11-20T10:50:00+0300"),
    ],
)
def test_times_are_asked_for_as_they_are_written_with_an_overlap(form: str, begin: str) -> None:
    server = Server(lambda _: [], BY_TIME | {"time_format": form})
    server.fetch({"through": "2026-11-20T08:00:00Z"})
    assert server.queries("from")[0] == begin


@pytest.mark.parametrize(
    ("form", "value", "instant"),
    [
        ("iso", "2026-11-20 08:00:00", "05:00:00"),
        ("iso", "2026-11-20T08:00:00.900+05:00", "03:00:00"),
        ("%d/%m/%Y %H:%M:%S", "20/11/2026 08:00:00", "05:00:00"),
        ("%Y%m%d%H%M%S", 20261120080000, "05:00:00"),
        ("%d.%m.%y %I:%M %p", "20.11.26 08:00 AM", "05:00:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-11-20T08:00:00+0100", "07:00:00"),
        ("epoch", 1795150800, "05:00:00"),
        ("epoch", "1795150800.75", "05:00:00"),
        ("epoch_ms", 1795150800999, "05:00:00"),
    ],
)
def test_times_are_read(form: str, value: object, instant: str) -> None:
    server = Server(lambda _: [record("7", value)], BY_TIME | {"time_format": form})
    (event,) = server.fetch()[0].events
    assert str(event.event_time) == f"2026-11-20 {instant}+00:00"
    assert event.device_time == (value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("value", ["yesterday", "", None, True, [1], "20/11/2026", 10**40])
@pytest.mark.parametrize("form", ["iso", "epoch", "%Y-%m-%d %H:%M:%S"])
def test_a_time_that_cannot_be_read_is_left_to_the_stream(form: str, value: object) -> None:
    server = Server(lambda _: [record("7", value)], BY_TIME | {"time_format": form})
    (event,) = server.fetch()[0].events
    assert event.event_time is None


def test_another_zone_than_the_devices_is_the_options() -> None:
    server = Server(lambda _: [record("7")], BY_TIME | {"timezone": "UTC"})
    (event,) = server.fetch()[0].events
    assert (str(event.event_time), event.device_timezone) == ("2026-11-20 08:00:00+00:00", "UTC")


def test_users_and_directions_are_as_the_device_says() -> None:
    records = [record("007", d=0), record(7, d="1"), record("7", d="9"), record(12345678901234567890123)]
    options = BY_TIME | {"directions": {"0": "IN", "1": "OUT"}, "fields": {**BY_TIME["fields"], "direction": "d"}}
    events = Server(lambda _: records, options).fetch()[0].events
    assert [(event.device_user_id, event.event_type) for event in events] == [
        ("007", "IN"),
        ("7", "OUT"),
        ("7", "UNKNOWN"),
        ("12345678901234567890123", "UNKNOWN"),
    ]


def test_what_is_no_record_is_rejected_and_its_neighbours_are_kept() -> None:
    garbage: list[Any] = [None, 7, "x", [], {}, {"user": ""}, {"user": True}, {"user": {"a": 1}}, {"user": "u" * 300}]
    records = [item for each in garbage for item in (record("7"), each)]
    (page, *_) = Server(lambda _: records, BY_TIME).fetch()
    assert users([page]) == ["7"] * len(garbage)
    assert [rejected.index for rejected in page.rejected] == list(range(1, 2 * len(garbage), 2))
    assert {rejected.reason for rejected in page.rejected} == {Reason.INVALID_EVENT}


def test_a_record_that_gives_a_name_twice_is_rejected() -> None:
    said = httpx.Response(200, content=b'[{"user": "7", "user": "8", "time": "2026-11-20T08:00:00"}]')
    (page, *_) = Server(lambda _: said, BY_TIME).fetch()
    assert not page.events
    assert len(page.rejected) == 1


def test_a_dead_letter_keeps_the_fields_of_the_entry_and_no_other() -> None:
    records = [{"time": "08:00", "name": "Zoë", "photo": "…", "mode": "face", "user": None}]
    (page, *_) = Server(lambda _: records, BY_TIME, payload=["mode"]).fetch()
    assert json.loads(page.rejected[0].value) == {"user": None, "time": "08:00", "mode": "face"}


def test_records_of_several_terminals_go_to_their_devices() -> None:
    gate = device(BY_TIME, device_id="gate", serial="G1", via="D1", timezone="Asia/Kolkata")
    options = BY_TIME | {"fields": {**BY_TIME["fields"], "serial": "sn"}}
    records = [record("1", sn="G1"), record("2", sn="nobody"), record("3")]
    (page, *_) = Server(lambda _: records, options, terminals={"G1": gate}).fetch()
    (event,) = page.events
    assert (event.device_id, event.device_timezone, str(event.event_time)) == (
        "gate",
        "Asia/Kolkata",
        "2026-11-20 02:30:00+00:00",
    )
    assert [rejected.reason for rejected in page.rejected] == [Reason.UNKNOWN_DEVICE] * 2


def test_by_time_the_cursor_moves_once_all_is_read_and_not_into_the_future() -> None:
    pages: list[list[Any]] = [[record("1", "2026-11-20T11:00:00Z"), record("2", "2027-01-01T00:00:00Z")], [], []]
    options = BY_TIME | {"query": {**BY_TIME["query"], "page": "{page}"}, "paging": {"by": "page", "first": 0}}
    server = Server(lambda request: pages[int(request.url.params["page"])], options)
    first, last = server.fetch({"through": "2026-11-20T11:00:00Z"})
    assert first.cursor == {"through": "2026-11-20T11:00:00Z"}
    assert last.cursor == {"through": "2026-11-20T11:00:00Z"}
    assert server.queries("page") == ["0", "1"]
    assert [page.cursor for page in Server(server.respond, options).fetch()] == [{}, last.cursor]


def test_pages_go_on_until_one_is_empty_though_they_are_smaller_than_asked_for() -> None:
    everyone = [record(str(number)) for number in range(7)]

    def respond(request: httpx.Request) -> Any:
        start = int(request.url.params["start"])
        return everyone[start : start + 3]  # whatever was asked for

    options = BY_TIME | {
        "query": {**BY_TIME["query"], "start": "{offset}", "limit": "{size}"},
        "paging": {"by": "offset", "size": 500},
    }
    server = Server(respond, options)
    assert len(users(server.fetch())) == 7
    assert (server.queries("start"), server.queries("limit")[0]) == (["0", "3", "6", "7"], "500")


def test_a_total_saves_the_empty_page_and_has_to_be_reached() -> None:
    options = BY_TIME | {
        "query": {**BY_TIME["query"], "page": "{page}"},
        "paging": {"by": "page"},
        "records": "data.rows",
        "total": "data.count",
    }
    pages = {"1": [record("1"), record("2")], "2": [record("3")]}

    def respond(count: int) -> Callable[[httpx.Request], Any]:
        return lambda request: {"data": {"rows": pages.get(request.url.params["page"], []), "count": count}}

    server = Server(respond(3), options)
    assert users(server.fetch()) == ["1", "2", "3"]
    assert server.queries("page") == ["1", "2"]
    seen: list[Page] = []
    with pytest.raises(UnreadableAnswer, match="3 records where 5 must be"):
        Server(respond(5), options).fetch_into(seen)
    assert (users(seen), {str(page.cursor) for page in seen}) == (["1", "2", "3"], {"{}"})


def test_a_total_that_shrinks_while_it_is_read_may_have_moved_a_record_past_us() -> None:
    options = BY_TIME | {
        "query": {**BY_TIME["query"], "page": "{page}"},
        "paging": {"by": "page"},
        "records": "rows",
        "total": "count",
    }
    server = Server(
        lambda request: {"rows": [record(request.url.params["page"])], "count": 9 - int(request.url.params["page"])},
        options,
    )
    with pytest.raises(UnreadableAnswer, match="only 7 are left"):
        server.fetch()


def test_a_server_that_gives_its_last_page_for_ever_is_noticed() -> None:
    options = BY_TIME | {"query": {**BY_TIME["query"], "page": "{page}"}, "paging": {"by": "page"}}
    with pytest.raises(UnreadableAnswer, match="the same page again"):
        Server(lambda _: [record("1")], options).fetch()


NEXT = BY_TIME | {"records": "rows", "paging": {"by": "next", "next": "links.next"}}


@pytest.mark.parametrize("link", ["http://10.0.0.9/log?p=2", "/log?p=2", "?p=2", "http://10.0.0.9:80/log?p=2"])
def test_links_are_followed_with_the_credentials(link: str) -> None:
    def respond(request: httpx.Request) -> Any:
        if request.url.params.get("p") == "2":
            return {"rows": [record("2")], "links": {"next": None}}
        return {"rows": [record("1")], "links": {"next": link}}

    server = Server(respond, NEXT | {"auth": "bearer"})
    assert users(server.fetch()) == ["1", "2"]
    assert [request.headers["authorization"] for request in server.asked] == ["Bearer secret-token"] * 2
    assert str(server.asked[1].url).removeprefix("http://10.0.0.9") == "/log?p=2"


@pytest.mark.parametrize(
    "link", ["http://elsewhere/log", "https://10.0.0.9/log", "http://10.0.0.9:81/log", "//elsewhere/log", "file:///etc"]
)
def test_a_link_to_elsewhere_is_not_followed(link: str) -> None:
    server = Server(lambda _: {"rows": [], "links": {"next": link}}, NEXT)
    with pytest.raises(DeviceRefused, match="leads to another host"):
        server.fetch()
    assert len(server.asked) == 1


def test_a_link_that_leads_to_itself_ends() -> None:
    server = Server(lambda _: {"rows": [], "links": {"next": "/log?p=2"}}, NEXT)
    with pytest.raises(UnreadableAnswer, match="leads to itself"):
        server.fetch()


@pytest.mark.parametrize("back", ["/log?p=2", "?p=2#again", "{first}"])
def test_links_that_lead_in_a_circle_end_and_what_was_read_is_kept(back: str) -> None:
    def respond(request: httpx.Request) -> Any:
        page = int(request.url.params.get("p", 1))
        first = str(server.asked[0].url)
        return {
            "rows": [record(str(page))],
            "links": {"next": f"?p={page + 1}" if page < 3 else back.format(first=first)},
        }

    server = Server(respond, NEXT)
    seen: list[Page] = []
    with pytest.raises(UnreadableAnswer, match="leads back to a page that was read before"):
        server.fetch_into(seen, {"through": "2026-11-19T08:00:00Z"})
    assert (users(seen), len(server.asked)) == (["1", "2", "3"], 3)
    # By time, what was not read may be older than what was.
    assert seen[-1].cursor == {"through": "2026-11-19T08:00:00Z"}


def test_a_link_that_cannot_be_followed_costs_no_record_of_its_page() -> None:
    for link in ("http://elsewhere/log", "http://xn--/log", "http://[", "http://10.0.0.9:99999/log"):
        seen: list[Page] = []
        with pytest.raises((DeviceRefused, UnreadableAnswer)):
            Server(lambda _, link=link: {"rows": [record("1")], "links": {"next": link}}, NEXT).fetch_into(seen)
        assert (users(seen), seen[-1].complete_until) == (["1"], None)


def test_each_reading_may_follow_the_links_of_the_one_before() -> None:
    def respond(request: httpx.Request) -> Any:
        return {"rows": [], "links": {"next": None if "p" in request.url.params else "?p=2"}}

    server = Server(respond, NEXT)
    server.fetch({"through": "2026-11-20T08:00:00Z"})
    assert [request.url.params.get("p") for request in server.asked] == [None, "2"] * 2


@pytest.mark.parametrize("by", ["next", "page", "none"])
def test_pages_without_end_are_read_up_to_a_bound_and_by_number_the_next_look_goes_on(by: str) -> None:
    def respond(request: httpx.Request) -> Any:
        after = int(request.url.params.get("after", 0))
        number = after + int(request.url.params.get("page", 1))
        rows = [record(str(number), id=number)]
        return {"rows": rows, "next": f"/log?after={number}"} if by == "next" else rows

    options: dict[str, Any] = BY_NUMBER | {
        "paging": {"by": by, "most": 5} | ({"next": "next"} if by == "next" else {}),
        "records": "rows" if by == "next" else "",
        "query": {"after": "{cursor}"} | ({"page": "{page}"} if by == "page" else {}),
    }
    seen: list[Page] = []
    with pytest.raises(UnreadableAnswer, match=r"more than 5 pages.*paging\.most"):
        Server(respond, options).fetch_into(seen)
    assert (users(seen), seen[-1].cursor) == (["1", "2", "3", "4", "5"], {"number": 5})
    with pytest.raises(UnreadableAnswer, match="more than 5 pages"):
        Server(respond, options).fetch_into(seen, seen[-1].cursor)
    assert (users(seen)[5:], seen[-1].cursor) == (["4", "5", "6", "7", "8"], {"number": 8})


def test_by_time_the_cursor_stays_where_pages_do_not_end() -> None:
    options = BY_TIME | {"query": {**BY_TIME["query"], "page": "{page}"}, "paging": {"by": "page", "most": 5}}
    seen: list[Page] = []
    with pytest.raises(UnreadableAnswer, match="more than 5 pages"):
        Server(lambda request: [record(request.url.params["page"])], options).fetch_into(seen)
    assert (users(seen), {str(page.cursor) for page in seen}) == (["1", "2", "3", "4", "5"], {"{}"})


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("basic", "authorization", "Basic c2VjcmV0LXVzZXI6c2VjcmV0LXBhc3N3b3Jk"),
        ("bearer", "authorization", "Bearer secret-token"),
        ("header", "x-key", "secret-token"),
    ],
)
def test_credentials_are_sent_as_the_entry_says(auth: str, header: str, value: str) -> None:
    server = Server(lambda _: [], BY_TIME | {"auth": auth, "auth_header": "X-Key"})
    server.fetch()
    assert server.asked[0].headers[header] == value


def test_a_body_has_numbers_where_its_placeholders_are_numbers() -> None:
    body = {"range": ["{from}", "{to}"], "page": "{page}", "note": "page {page} of {size}", "kinds": [1, None]}
    options = BY_TIME | {"method": "POST", "query": {}, "body": body, "paging": {"by": "page", "size": 50}}
    server = Server(lambda _: [], options)
    server.fetch()
    assert json.loads(server.asked[0].content) == {
        "range": ["2000-01-01T00:00:00Z", "2026-11-21T12:00:00Z"],
        "page": 1,
        "note": "page 1 of 50",
        "kinds": [1, None],
    }


@dataclass
class Log:
    """A server's numbered records, of which it hands out some after a number."""

    numbers: list[int]
    most: int = 3

    def __call__(self, request: httpx.Request) -> Any:
        after = int(request.url.params["after"])
        return [record(str(number), id=number) for number in self.numbers if number > after][: self.most]


def test_by_number_each_answer_goes_on_after_the_largest_of_the_last() -> None:
    server = Server(Log(list(range(1, 8))), BY_NUMBER)
    pages = server.fetch()
    assert users(pages) == ["1", "2", "3", "4", "5", "6", "7"]
    assert [page.cursor for page in pages] == [{"number": 3}, {"number": 6}, {"number": 7}, {"number": 7}]
    assert server.queries("after") == ["0", "3", "6", "7"]


def test_by_number_an_overlap_finds_what_came_late_under_a_smaller_number() -> None:
    log = Log([1, 2, 3, 5])
    cursor = Server(log, BY_NUMBER).fetch()[-1].cursor
    log.numbers = [1, 2, 3, 4, 5, 6]
    assert users(Server(log, BY_NUMBER).fetch(cursor)) == ["4", "5", "6"]


def test_numbers_that_begin_anew_are_read_from_the_beginning() -> None:
    log = Log(list(range(1, 5)))
    pages = Server(log, BY_NUMBER).fetch({"number": 700})
    assert users(pages) == ["1", "2", "3", "4"]
    assert pages[0].cursor == {"number": 700}
    assert pages[-1].cursor == {"number": 4}


def test_a_memory_that_was_cleared_keeps_the_cursor_until_something_is_there() -> None:
    assert {str(page.cursor) for page in Server(Log([]), BY_NUMBER).fetch({"number": 700})} == {"{'number': 700}"}


def test_records_out_of_the_order_of_their_numbers_are_handed_over_and_noticed() -> None:
    seen: list[Page] = []
    with pytest.raises(UnreadableAnswer, match="record 8 comes after 9"):
        Server(Log([9, 8, 7]), BY_NUMBER).fetch_into(seen, {"number": 5})
    assert (users(seen), seen[0].cursor) == (["9", "8", "7"], {"number": 5})


def test_a_record_without_a_user_does_not_hold_up_the_numbers() -> None:
    server = Server(lambda request: [{"id": 1}, {"id": "2"}] if request.url.params["after"] == "0" else [], BY_NUMBER)
    pages = server.fetch()
    assert pages[-1].cursor == {"number": 2}
    assert sum(len(page.rejected) for page in pages) == 2


def test_by_time_a_newest_record_that_is_gone_is_looked_for_in_every_zone() -> None:
    server = Server(lambda _: [], BY_TIME)
    pages = server.fetch({"through": "2026-11-20T08:00:00Z"})
    assert server.queries("from") == ["2026-11-20T07:50:00Z", "2026-11-19T05:50:00Z"]
    assert pages[-1].cursor == {"through": "2026-11-20T08:00:00Z"}


def test_by_time_a_newest_record_that_is_there_is_not_looked_for() -> None:
    server = Server(lambda _: [record("1", "2026-11-20T08:00:00Z")], BY_TIME)
    server.fetch({"through": "2026-11-20T08:00:00Z"})
    assert len(server.asked) == 1


def test_a_sweep_looks_back_and_for_lost_clocks_and_moves_no_cursor() -> None:
    server = Server(lambda _: [record("late", "2026-11-18T08:00:00Z")], BY_TIME)
    pages = server.fetch({"through": "2026-11-20T08:00:00Z"}, since=NOW - timedelta(days=3))
    assert server.queries("from") == ["2026-11-17T12:00:00Z", "2000-01-01T00:00:00Z"]
    assert server.queries("to")[1] == "2020-01-01T00:00:00Z"
    assert {str(page.cursor) for page in pages} == {"{'through': '2026-11-20T08:00:00Z'}"}
    assert {page.complete_until for page in pages} == {None}


def test_a_sweep_by_number_is_by_time_where_the_interface_can() -> None:
    options = BY_NUMBER | {"query": {"after": "{cursor}", "from": "{from}"}}
    server = Server(Log([1, 2, 3]), options)
    pages = server.fetch({"number": 3}, since=NOW - timedelta(days=3))
    assert (server.queries("after")[0], server.queries("from")[0]) == ("0", "2026-11-17T12:00:00Z")
    assert pages[-1].cursor == {"number": 3}


@pytest.mark.parametrize("cursor", [{}, {"through": 7}, {"through": "soon"}, {"number": "x"}, {"number": -1}])
@pytest.mark.parametrize("options", [BY_TIME, BY_NUMBER], ids=["time", "number"])
def test_a_cursor_that_is_none_reads_everything(options: dict[str, Any], cursor: Cursor) -> None:
    server = Server(lambda _: [], options)
    server.fetch(cursor)
    assert server.queries("from" if options is BY_TIME else "after")[0] in ("2000-01-01T00:00:00Z", "0")


def test_only_an_interface_that_has_everything_is_claimed_to_be_complete() -> None:
    assert [page.complete_until for page in Server(lambda _: [], BY_TIME).fetch()] == [None]
    complete = Server(lambda _: [], BY_TIME | {"complete": True}).fetch()
    assert [page.complete_until for page in complete] == [NOW - timedelta(minutes=5)]


@pytest.mark.parametrize("said", [{}, {"rows": None}, {"rows": {}}, 7, None, "x", {"rows": [], "count": "many"}])
def test_an_answer_without_a_list_or_a_total_cannot_be_read(said: Any) -> None:
    with pytest.raises(UnreadableAnswer):
        Server(lambda _: said, BY_TIME | {"records": "rows", "total": "count"}).fetch()


def test_an_answer_that_gives_its_list_twice_cannot_be_read() -> None:
    said = httpx.Response(200, content=b'{"rows": [1], "rows": []}')
    with pytest.raises(UnreadableAnswer):
        Server(lambda _: said, BY_TIME | {"records": "rows"}).fetch()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    said = httpx.Response(200, content=body)
    try:
        pages = Server(lambda _: said, BY_TIME).fetch()
    except UnreadableAnswer:
        return
    records = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
    assert sum(len(page.events) + len(page.rejected) for page in pages) == len(records)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["user", "time", "id", "d"]), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(json_values, max_size=5), st.sampled_from(["iso", "epoch", "%Y-%m-%d %H:%M:%S"]))
def test_every_record_ends_as_an_event_or_is_rejected(records: list[Any], form: str) -> None:
    try:
        content = json.dumps(records).encode()
    except ValueError:
        return
    options = BY_TIME | {
        "time_format": form,
        "fields": {"user": "user", "time": "time", "direction": "d", "sequence": "id"},
    }
    try:
        pages = Server(lambda _: httpx.Response(200, content=content), options).fetch()
    except UnreadableAnswer:
        return  # half of a surrogate pair
    assert sum(len(page.events) + len(page.rejected) for page in pages) == len(records)
    for page in pages:
        for event in page.events:
            event.encode()


@given(st.recursive(st.none() | st.text() | st.lists(st.none()), lambda inner: st.dictionaries(st.text(), inner)))
@settings(max_examples=50)
def test_a_path_leads_somewhere_or_nowhere(said: Any) -> None:
    dig(said, "a.b.c")
    assert dig(said, "") == said


@pytest.mark.parametrize("create", [PagedRest, NumberedRest])
def test_a_simulated_interface_is_probed_and_keeps_no_photograph(create: Any) -> None:
    terminal = create(serial="T1", zone="Asia/Riyadh", password="right")
    at = datetime(2026, 11, 19, 8, 0, 0)  # noqa: DTZ001 - its own clock
    terminal.memory.append(Punch("7", at, "IN", photo=PHOTO))

    async def scenario() -> bytes:
        async with terminal.serving(), httpx.AsyncClient() as http:
            adapter = Rest(Tools(http, lambda _, name: terminal.credentials()[name], ()))
            entry = device(**terminal.registry_entry())
            assert (await adapter.probe(entry)).serial is None
            terminal.faults.password_wrong = True
            with pytest.raises(DeviceRefused):
                await adapter.probe(entry)
            terminal.faults.password_wrong = False
            terminal.faults.unavailable = 1
            with pytest.raises(DeviceUnavailable):
                await adapter.probe(entry)
            fetch = Fetch(entry, {"T1": entry}, None, None, NOW)
            return b"".join([event.encode() async for page in adapter.fetch(fetch) for event in page.events])

    kept = asyncio.run(scenario())
    assert b'"device_user_id":"7"' in kept
    assert b"photo" not in kept
