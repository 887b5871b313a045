"""Unmapped people: whose a number is and which are ignored, by page and by API, and what is refused."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from console_site import Browser, ConsoleSite, csrf_of, text_of
from httpx import Response
from ledger_story import START, Story, event
from msgspec.structs import replace
from passwords import QUICK

from attendance.erpnext import Filter
from attendance.errors import Reason, TargetUnavailable
from attendance.records.activity import Activity
from attendance.records.console_user import ConsoleUser, Role
from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import IGNORED_BY
from attendance.records.user_map import EVERYWHERE, Employee, IgnoredUser, UserMapping
from console.actions.people import REFUSALS
from console.employees import KEPT_SECONDS, MOST_FOUND, REST_SECONDS, Employees
from operations.user_decisions import MOST_NOTE, Why

NUMBER = {"user": "77", "site": "s"}
PAGE = "/people/number?user=77&site=s"


def story() -> Story:
    """Number 77 waits on both devices of a site, <b>9</b> on one, and 5 of another site."""
    written = Story()
    for raw in (event("77", 9), event("77", 10, "D2"), event("<b>9</b>", 11)):
        written.wait(written.raw(raw))
    written.wait(written.raw(replace(event("5", 9, "E1"), site="other")))
    return written


class FakeErpnext:
    """ERPNext, as far as it lists employees."""

    def __init__(self) -> None:
        self.rows = [
            {"name": "HR-77", "employee_name": "Omar Haddad", "status": "Active", "department": "Gate"},
            {"name": "HR-8", "employee_name": "<i>Lina</i>", "status": "Left", "department": None},
        ]
        self.asked: list[Sequence[Filter]] = []
        self.fails = False

    def get_list(self, _doctype: str, _fields: Sequence[str], filters: Sequence[Filter] = (), **_: Any) -> list[Any]:
        self.asked.append(filters)
        if self.fails:
            raise TargetUnavailable("down")
        ((field, how, wanted),) = filters
        if how == "in":
            assert isinstance(wanted, list)
            return [row for row in self.rows if row["name"] in wanted]
        text = str(wanted).strip("%").replace("\\", "").lower()
        return [row for row in self.rows if text in str(row.get(field) or "").lower()]


class Site(ConsoleSite):
    """A console that has read the user map, beside an ERPNext."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, story())
        self.context.people.caught_up.set()
        self.erpnext = FakeErpnext()
        object.__setattr__(self.context, "employees", Employees(self.erpnext))
        self.learn(Employee("HR-77", "Active"), Employee("HR-8", "Left"))

    def learn(self, *entries: Employee | UserMapping | IgnoredUser) -> None:
        for entry in entries:
            self.context.people.learn(self.log.add("user_map", entry.key, entry.encode()))

    def account(self, role: Role, sites: tuple[str, ...] | None = None) -> Browser:
        self.put(ConsoleUser("omar", QUICK.hash("a password of his"), START, "root", role=role, sites=sites))
        browser = self.browser()
        browser.post("/sign-in", data={"name": "omar", "password": "a password of his"})
        return browser

    def written(self) -> list[tuple[bytes | None, bytes | None]]:
        """What was sent to the user map."""
        return [(each.key, each.value) for each in self.log.sent if each.topic == self.log.topics["user_map"]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    console = Site(tmp_path)
    yield console
    console.database.close()


def send(browser: Browser, path: str, **form: str) -> Response:
    token = csrf_of(browser.get("/people"))
    return browser.post(f"/people/{path}", data={"csrf": token, **NUMBER, **form})


def acts(site: Site) -> list[tuple[str, str, dict[str, str]]]:
    found = [Activity.decode(each.value) for each in site.log.records("console_activity")]
    return [(each.state, each.action, dict(each.about)) for each in found]


def test_a_number_is_found_by_number_and_site_and_may_be_somebodys(site: Site) -> None:
    browser = site.signed_in()
    said = text_of(browser.get("/people").text)
    assert "3 numbers, 4 punches wait." in said
    assert "77 s D1, D2 2" in said
    assert "HR-77" in said
    assert "1 numbers, 2 punches wait." in text_of(browser.get("/people?number=77").text)
    assert "1 numbers, 1 punch waits." in text_of(browser.get("/people?site=other").text)


def test_what_devices_and_erpnext_wrote_is_shown_as_text(site: Site) -> None:
    browser = site.signed_in()
    assert "<b>9" not in browser.get("/people").text
    found = browser.get("/people/number", params={"user": "<b>9</b>", "site": "s", "find": "<i>"}).text
    assert "&lt;b&gt;9&lt;/b&gt;" in found
    assert "&lt;i&gt;Lina" in found
    assert "<i>" not in found


def test_the_page_of_a_number_says_where_it_punches_and_whose_it_may_be(site: Site) -> None:
    said = text_of(site.signed_in().get(PAGE).text)
    assert "Punches that wait 2" in said
    assert "D1 , D2" in said
    assert "HR-77 Omar Haddad Gate the id ends in this number" in said
    assert "2 punches flow then." in said


def test_an_employee_is_found_by_name_and_one_form_maps_the_number(site: Site) -> None:
    browser = site.signed_in()
    assert "Omar Haddad" in text_of(browser.get(f"{PAGE}&find=haddad").text)
    answer = send(browser, "map", employee="HR-77", note="the guard")
    assert answer.url.path == "/people/number"
    said = text_of(answer.text)
    assert "Number 77 is HR-77 now. Its punches flow." in said
    assert "By hand it is the number of: HR-77 Omar Haddad" in said
    assert "2 Waiting 0 On its way to ERPNext 0 In ERPNext" in said
    ((key, value),) = site.written()
    assert key == b'["user","site:s","77","console"]'
    assert value is not None
    assert b'"employee":"HR-77"' in value
    assert b'"by":"fatima","note":"the guard"' in value
    about = {"number": "77", "site": "s", "employee": "HR-77"}
    assert acts(site) == [("begun", "number.map", about), ("done", "number.map", about)]


def test_the_name_of_an_employee_stands_on_no_topic(site: Site) -> None:
    browser = site.signed_in()
    browser.get(f"{PAGE}&find=Omar")
    send(browser, "map", employee="HR-77")
    records = [*site.log.sent, *site.log.records("console_activity")]
    assert all(b"Haddad" not in (each.value or b"") for each in records)


def test_the_punches_are_watched_until_they_are_in_erpnext_or_some_minutes_have_passed(tmp_path: Path) -> None:
    written = Story()
    written.deliver(written.checkin(written.raw(event("77", 9)), "HR-77"), "CHK-1")
    written.checkin(written.raw(event("77", 10)), "HR-77")
    written.wait(written.raw(event("77", 11)))
    console = Site.__new__(Site)
    ConsoleSite.__init__(console, tmp_path, written)
    console.learn(UserMapping("site:s", "77", "HR-77", "console", START, "fatima"))
    console.clock.at = START + timedelta(minutes=9)
    part = "/people/progress?user=77&site=s"
    answer = console.signed_in().get(part)
    assert text_of(answer.text) == "Its punches since then 1 Waiting 1 On its way to ERPNext 1 In ERPNext"
    assert 'hx-trigger="every 3s"' in answer.text
    console.clock.at += timedelta(minutes=1)
    assert "hx-trigger" not in console.signed_in().get(part).text
    console.database.close()


def test_a_number_is_mapped_on_one_device_alone(site: Site) -> None:
    send(site.signed_in(), "map", device="D1", typed=" HR-77 ")
    assert [key for key, _ in site.written()] == [b'["user","device:D1","77","console"]']


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("map", {}, "Choose an employee, or type the id of one."),
        ("map", {"typed": "HR-99"}, "ERPNext has no employee HR-99"),
        ("map", {"typed": "HR-77", "note": "x" * (MOST_NOTE + 1)}, "500 characters at most"),
        ("ignore", {"note": " "}, "Say why nothing is to come of this number."),
        ("unmap", {}, "Nobody said by hand whose number this is"),
        ("stop-ignoring", {}, "This number is not ignored"),
        ("map", {"site": "nowhere", "typed": "HR-77"}, "The fleet has no such site or device"),
        ("ignore", {"device": "D9", "note": "a visitor"}, "The fleet has no such site or device"),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_writes_nothing(
    site: Site, path: str, form: dict[str, str], said: str
) -> None:
    answer = send(site.signed_in(), path, **form)
    assert answer.status_code == 409
    assert said in text_of(answer.text)
    assert site.written() == []


def test_a_form_that_was_refused_keeps_what_was_typed(site: Site) -> None:
    page = send(site.signed_in(), "map", typed="HR-99", note="the new guard", find="Omar").text
    assert 'name="typed" value="HR-99"' in page
    assert 'name="note" value="the new guard"' in page
    assert 'name="find" value="Omar"' in page
    assert 'role="alert"' in page
    page = send(site.signed_in(), "ignore", note="y" * (MOST_NOTE + 1)).text
    assert "y" * (MOST_NOTE + 1) in page


def test_before_the_user_map_is_read_nothing_is_decided(site: Site) -> None:
    site.context.people.caught_up.clear()
    answer = send(site.signed_in(), "map", typed="HR-77")
    assert "has not read yet whose the numbers are" in text_of(answer.text)
    assert site.written() == []


def test_the_page_says_which_entry_counts(site: Site) -> None:
    send(site.signed_in(), "map", typed="HR-77")
    site.learn(UserMapping(EVERYWHERE, "77", "HR-8", "erpnext"))
    said = text_of(site.signed_in().get(PAGE).text)
    assert "ERPNext says whose number this is: HR-8" in said
    assert "which does not count beside that: HR-77" in said
    assert "Whose number is it?" not in said
    assert "ERPNext or a file says that it is HR-8." in text_of(site.signed_in().get("/people/decided").text)
    assert "HR-8" in text_of(send(site.signed_in(), "map", typed="HR-77").text)


def test_a_mapping_is_taken_back(site: Site) -> None:
    browser = site.signed_in()
    send(browser, "map", typed="HR-77")
    said = text_of(send(browser, "unmap").text)
    assert "Punches of number 77 wait from now on." in said
    assert "Nobody is mapped by hand." in said
    assert site.written()[-1] == (b'["user","site:s","77","console"]', None)


def test_a_visitor_is_ignored_with_a_note_and_that_is_taken_back(site: Site) -> None:
    browser = site.signed_in()
    said = text_of(send(browser, "ignore", note="a <visitor>").text)
    assert "Number 77 is ignored now." in said
    assert "a &lt;visitor&gt;" in said
    assert "This number is ignored." in text_of(browser.get(PAGE).text)
    assert "Number 77 is ignored no more. Punches that were sent again: 0." in text_of(
        send(browser, "stop-ignoring").text
    )
    assert [value is None for _, value in site.written()] == [False, True]
    assert [(state, act) for state, act, _ in acts(site)] == [
        ("begun", "number.ignore"),
        ("done", "number.ignore"),
        ("begun", "number.stop_ignoring"),
        ("done", "number.stop_ignoring"),
    ]


class Ignored(Site):
    """A console where a punch of number 7 was ignored."""

    def __init__(self, directory: Path, of: str = "now") -> None:
        written = Story()
        raw = written.raw(event("7", 9))
        letter = DeadLetter(
            *("stream", Reason.USER_IGNORED, "ignored by lina: a visitor", START, b"D1", raw.value),
            headers=[(IGNORED_BY, of.encode())],
            topic="t.raw.v1",
            partition=0,
            offset=0,
            event_id=event("7", 9).event_id,
        ).to_record("")
        stored = written.put("dead_letters", letter)
        ConsoleSite.__init__(self, directory, written)
        self.log.put("dead_letters", stored)
        self.context.people.caught_up.set()
        self.learn(IgnoredUser("site:s", "7", "now", START, "lina", "a visitor"))


def test_what_was_ignored_is_counted_sent_again_once_and_is_nothing_that_needs_attention(tmp_path: Path) -> None:
    console = Ignored(tmp_path)
    browser = console.signed_in()
    assert "1 punch ignored" in text_of(browser.get("/people/decided").text)
    assert "clock" not in text_of(browser.get("/attention").text)
    assert "0 Needs attention" in text_of(browser.get("/").text)
    said = text_of(send(browser, "stop-ignoring", user="7").text)
    assert "Punches that were sent again: 1." in said
    assert [each.topic for each in console.log.sent] == [
        console.log.topics[name] for name in ("user_map", "raw", "dead_letter_actions")
    ]
    console.database.close()


def test_what_an_entry_that_is_gone_has_ignored_is_shown_and_sent_again(tmp_path: Path) -> None:
    console = Ignored(tmp_path, of="before")
    console.context.people.users.apply(IgnoredUser("site:s", "7", "now", START, "lina", "a visitor").key, None)
    browser = console.signed_in()
    said = text_of(browser.get("/people/decided").text)
    assert "This number is ignored no more, and 1 punch was not sent again. ignored by lina: a visitor" in said
    assert "Punches that were sent again: 1." in text_of(send(browser, "stop-ignoring", user="7", device="D1").text)
    console.database.close()


def test_what_was_decided_where_the_fleet_has_nothing_any_more_is_taken_back_by_who_sees_every_site(
    site: Site,
) -> None:
    at = START
    site.learn(
        UserMapping("device:D9", "7", "HR-77", "console", at, "lina"), IgnoredUser("site:old", "8", "i", at, "l", "x")
    )
    browser = site.signed_in()
    assert browser.get("/people/decided").text.count("/people/unmap") == 1
    assert send(site.account("hr", ("s",)), "unmap", user="7", device="D9", site="").status_code == 409
    assert send(browser, "unmap", user="7", device="D9", site="").status_code == 200
    assert send(browser, "stop-ignoring", user="8", site="old").status_code == 200
    assert [value for _, value in site.written()] == [None, None]


@pytest.mark.parametrize("role", ["viewer", "it"])
def test_who_has_not_the_right_sees_no_form_and_is_refused(site: Site, role: Role) -> None:
    browser = site.account(role)
    assert "/people/map" not in browser.get(PAGE).text
    for path in ("map", "unmap", "ignore", "stop-ignoring"):
        assert send(browser, path, typed="HR-77", note="a visitor").status_code == 403
    assert site.written() == []


def test_who_has_some_sites_sees_and_decides_about_these_alone(site: Site) -> None:
    site.learn(IgnoredUser("site:s", "8", "i", START, "lina", "one of another site"))
    browser = site.account("hr", ("other",))
    said = text_of(browser.get("/people").text)
    assert "1 numbers, 1 punch waits." in said
    assert "77" not in said
    assert browser.get(PAGE).status_code == 409
    assert "one of another site" not in browser.get("/people/decided").text
    assert send(browser, "map", typed="HR-77").status_code == 409
    assert send(browser, "map", device="D1", site="other", typed="HR-77").status_code == 409
    assert send(browser, "stop-ignoring", user="8").status_code == 409
    assert site.written() == []
    assert send(site.account("hr", ("s",)), "map", typed="HR-77").status_code == 200


def test_a_form_without_the_token_of_the_session_is_refused(site: Site) -> None:
    browser = site.signed_in()
    for path in ("map", "unmap", "ignore", "stop-ignoring"):
        form = {**NUMBER, "typed": "HR-77", "note": "a visitor", "csrf": "made up"}
        assert browser.post(f"/people/{path}", data=form).status_code == 403
    assert site.written() == []


def test_without_erpnext_the_page_says_so_and_takes_an_id(site: Site) -> None:
    object.__setattr__(site.context, "employees", None)
    said = text_of(site.signed_in().get(f"{PAGE}&find=Omar").text)
    assert "This console is not connected to ERPNext: it cannot show names." in said
    assert "Or the id of the employee" in said, "the number suggests somebody"
    nobody = text_of(site.signed_in().get("/people/number?user=99999&site=s").text)
    assert "Id of the employee" in nobody
    assert "Or the id" not in nobody
    assert send(site.signed_in(), "map", typed="HR-77").status_code == 200


def test_while_erpnext_does_not_answer_the_page_says_so_and_takes_an_id(site: Site) -> None:
    site.erpnext.fails = True
    said = text_of(site.signed_in().get(f"{PAGE}&find=Omar").text)
    assert "ERPNext does not answer" in said
    assert send(site.signed_in(), "map", typed="HR-77").status_code == 200


def test_names_are_asked_once_in_some_minutes_and_a_site_that_is_down_rests() -> None:
    erpnext, at = FakeErpnext(), [0.0]
    employees = Employees(erpnext, lambda: at[0])
    assert (asyncio.run(employees.named(["HR-77", "HR-0"])) or {}).keys() == {"HR-77"}
    assert (asyncio.run(employees.named(["HR-77"])) or {}).keys() == {"HR-77"}
    assert len(erpnext.asked) == 1
    at[0] += KEPT_SECONDS
    assert (asyncio.run(employees.named(["HR-77"])) or {}).keys() == {"HR-77"}
    assert len(erpnext.asked) == 2
    erpnext.fails = True
    assert asyncio.run(employees.find("Omar")) is None
    erpnext.fails = False
    assert asyncio.run(employees.find("Omar")) is None
    assert len(erpnext.asked) == 3
    at[0] += REST_SECONDS
    found = asyncio.run(employees.find("Omar"))
    assert found is not None
    assert [each.called for each in found] == ["Omar Haddad"]


def test_what_is_a_wildcard_to_a_database_finds_nobody_by_itself() -> None:
    erpnext = FakeErpnext()
    assert asyncio.run(Employees(erpnext).find("a%b_c\\")) == []
    assert erpnext.asked[0] == [("name", "like", r"%ab\_c%")]


def test_however_many_are_found_a_page_shows_some() -> None:
    erpnext = FakeErpnext()
    erpnext.rows = [{"name": f"A{n}", "employee_name": f"Ali {n}", "status": "Active"} for n in range(50)]
    found = asyncio.run(Employees(erpnext).find("Ali"))
    assert found is not None
    assert len(found) == MOST_FOUND


def api(site: Site, role: str = "hr", **sites: str) -> dict[str, str]:
    browser = site.signed_in()
    token = csrf_of(browser.get("/accounts"))
    form = {"csrf": token, "name": "desk", "role": role, "days": "2", **(sites or {"every": "true"})}
    (text,) = re.findall(r"said once: (\S+)", text_of(browser.post("/accounts/tokens/add", data=form).text))
    return {"authorization": f"Bearer {text}"}


def test_a_program_lists_counts_and_decides_as_the_pages_do(site: Site) -> None:
    headers, program = api(site), site.browser()
    root = "/api/v1/people"
    assert program.get(f"{root}/unmapped/count", headers=headers).json()["punches"] == 4
    first = program.get(f"{root}/unmapped?limit=1", headers=headers).json()
    assert first["numbers"][0]["site"] == "other"
    rest = program.get(f"{root}/unmapped", params={"after": first["next"], "number": "77"}, headers=headers).json()
    assert [(each["number"], each["punches"], each["devices"]) for each in rest["numbers"]] == [("77", 2, ["D1", "D2"])]

    new = {"number": "77", "site": "s", "employee": "HR-77", "note": "the guard"}
    made = program.post(f"{root}/mappings", json=new, headers=headers)
    assert (made.status_code, made.json()["by"], made.json()["counts"]) == (201, "desk", True)
    assert program.get(f"{root}/mappings", headers=headers).json()[0]["employee"] == "HR-77"
    assert program.post(f"{root}/ignored", json=new, headers=headers).status_code == 409
    assert program.delete(f"{root}/mappings", params={"number": "77", "site": "s"}, headers=headers).status_code == 204
    assert program.delete(f"{root}/mappings", params={"number": "77", "site": "s"}, headers=headers).status_code == 409

    visitor = {"number": "77", "site": "s", "device": "D1", "note": "a visitor"}
    assert program.post(f"{root}/ignored", json=visitor, headers=headers).status_code == 201
    (listed,) = program.get(f"{root}/ignored", headers=headers).json()
    assert (listed["device"], listed["note"], listed["counts"]) == ("D1", "a visitor", True)
    where = {"number": "77", "site": "s", "device": "D1"}
    assert program.delete(f"{root}/ignored", params=where, headers=headers).json() == {"sent_again": 0}
    assert {Activity.decode(each.value).via for each in site.log.records("console_activity")[2:]} == {"api"}


def test_a_token_without_the_right_or_the_site_is_refused(site: Site) -> None:
    program, new = site.browser(), {"number": "77", "site": "s", "employee": "HR-77"}
    assert program.post("/api/v1/people/mappings", json=new, headers=api(site, "it")).status_code == 403
    elsewhere = api(site, sites="other")
    assert program.post("/api/v1/people/mappings", json=new, headers=elsewhere).status_code == 409
    found = program.get("/api/v1/people/unmapped", headers=elsewhere).json()
    assert [each["site"] for each in found["numbers"]] == ["other"]
    assert program.get("/api/v1/people/unmapped/count", headers=elsewhere).json()["numbers"] == 1
    assert site.written() == []


def test_every_refusal_has_words() -> None:
    assert set(REFUSALS) == set(Why)
