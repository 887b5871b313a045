"""Imports by page and by API: a file is looked at, taken in, and gone; and what came of each row is shown."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from console_site import PASSWORD, Browser, ConsoleSite, csrf_of, story, text_of
from httpx import Response
from ledger_story import START
from passwords import QUICK

from attendance.errors import KafkaUnavailable
from attendance.records.activity import Activity
from attendance.records.console_user import ApiToken, ConsoleUser, Role
from attendance.records.user_map import UserMapping
from attendance.user_map import UserMap
from console import uploads
from console.uploads import LIFE, safe_name
from operations import imports
from operations.console_users import TOKEN_MARK

# The first is a punch of the story, and the second of a number that nobody knows.
CSV = b"user,time,direction\n1,2026-03-02 08:00:00,IN\n<u>9</u>,2026-03-02 09:00:00,OUT\n,2026-03-02 10:00:00,IN\n"


class Publisher:
    """What Kafka would take."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.letters: list[Any] = []
        self.refuses = False

    async def publish(self, events: Any, letters: Any, *_: Any) -> None:
        if self.refuses:
            raise KafkaUnavailable("no brokers")
        self.events += events
        self.letters += letters

    async def stop(self) -> None:
        return


class Clock:
    async def find_reason(self) -> None:
        return None


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    made = Publisher()

    async def read_user_map(_: object) -> UserMap:
        users = UserMap()
        known = UserMapping("*", "1", "EMP-1", "csv")
        users.apply(known.key, known.encode())
        return users

    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(imports, "read_user_map", read_user_map)
    monkeypatch.setattr(imports, "create_publisher", lambda *_: (made, Clock()))
    monkeypatch.setattr("producers.files.importer.PAUSE", 0.0)
    return made


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where files stand that were brought."""
    where = tmp_path / "brought"
    where.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(where))
    return where


@pytest.fixture
def site(tmp_path: Path, publisher: Publisher, folders: Path) -> Any:
    console = ConsoleSite(tmp_path, story())
    yield console
    console.context.uploads.close()
    console.database.close()


def signed_in(site: ConsoleSite, role: Role = "hr", *sites: str) -> Browser:
    site.put(ConsoleUser("omar", QUICK.hash(PASSWORD), START, "root", role=role, sites=sites or None))
    browser = site.browser()
    browser.post("/sign-in", data={"name": "omar", "password": PASSWORD})
    return browser


def look(browser: Browser, content: bytes = CSV, name: str = "march.csv", **entered: str) -> Response:
    form = {"csrf": csrf_of(browser.get("/imports")), "device": "D1", **entered}
    return browser.post("/imports/look", data=form, files={"file": (name, content)})


def test_a_file_is_looked_at_and_nothing_is_sent(site: ConsoleSite, publisher: Publisher) -> None:
    page = look(signed_in(site))
    said = text_of(page.text)
    assert "Nothing is taken in yet." in said
    assert "3 Rows" in said
    assert "2 Punches" in said
    assert "1 Rows with a problem" in said
    assert "1 number is nobody" in said
    assert "Take in 2 punches" in said
    assert "&lt;u&gt;9&lt;/u&gt;" in page.text
    assert "<u>9</u>" not in page.text
    assert publisher.events == []


def test_it_is_taken_in_and_then_the_file_is_gone_and_each_row_has_its_result(
    site: ConsoleSite, publisher: Publisher, folders: Path
) -> None:
    browser = signed_in(site)
    page = look(browser)
    assert [each.name for each in folders.glob("*/*")] == ["march.csv"]

    after = browser.post(f"{page.url.path}/commit", data={"csrf": csrf_of(page)})

    said = text_of(after.text)
    assert "The file is taken in, and removed" in said
    assert [each.device_user_id for each in publisher.events] == ["1", "<u>9</u>"]
    assert len(publisher.letters) == 1
    assert list(folders.glob("*/*")) == []
    assert "Taken in" in said
    assert text_of(browser.get(f"{page.url.path}?problems=true").text).count("Refused") == 1
    begun, done = (Activity.decode(each.value) for each in site.log.records("console_activity"))
    assert (begun.action, begun.by, done.state) == ("import.commit", "omar", "done")
    assert done.result == "3 rows, 2 punches, 1 failed"
    again = browser.post(f"{page.url.path}/commit", data={"csrf": csrf_of(page)})
    assert "taken in already" in text_of(again.text)
    assert len(publisher.events) == 2


def test_what_became_of_a_punch_that_the_ledger_has_stands_in_its_row(site: ConsoleSite) -> None:
    # 08:00 in UTC is 11:00 on the wall in Riyadh: a punch of the story, which is delivered.
    browser = signed_in(site)
    page = look(browser, b"user,time,direction\n1,2026-03-02 11:00:00,IN\n")
    assert "In ERPNext" in text_of(browser.post(f"{page.url.path}/commit", data={"csrf": csrf_of(page)}).text)


def test_while_kafka_does_not_answer_the_file_stays_and_may_be_taken_in_later(
    site: ConsoleSite, publisher: Publisher
) -> None:
    browser = signed_in(site)
    page = look(browser)
    publisher.refuses = True
    stopped = browser.post(f"{page.url.path}/commit", data={"csrf": csrf_of(page)})
    assert "It stopped after 0 rows." in text_of(stopped.text)
    publisher.refuses = False
    after = browser.post(f"{page.url.path}/commit", data={"csrf": csrf_of(stopped)})
    assert "The file is taken in" in text_of(after.text)


@pytest.mark.parametrize(
    ("content", "name", "entered", "said"),
    [
        (CSV, "march.csv", {"device": "D9"}, "There is no such device."),
        (CSV, "march.csv", {"device": ""}, "There is no such device."),
        (b"\x00\x01garbage", "march.xlsx", {}, "The file cannot be read"),
        (CSV, "march.csv", {"profile": "nothing"}, "The file cannot be read like that"),
        (b"", "march.csv", {}, "The file cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words_and_nothing_is_kept(
    site: ConsoleSite, folders: Path, content: bytes, name: str, entered: dict[str, str], said: str
) -> None:
    answer = look(signed_in(site), content, name, **entered)
    assert answer.status_code == 409
    assert said in text_of(answer.text)
    assert list(folders.iterdir()) == []
    assert len(site.context.uploads) == 0


def test_only_who_may_import_and_sees_the_site_brings_a_file(site: ConsoleSite, folders: Path) -> None:
    assert signed_in(site, "viewer").get("/imports").status_code == 403
    elsewhere = signed_in(site, "hr", "t")
    assert "There is no such device." in text_of(look(elsewhere).text)
    browser = signed_in(site, "it")
    wrong = browser.post("/imports/look", data={"csrf": "no", "device": "D1"}, files={"file": ("a.csv", CSV)})
    assert wrong.status_code == 403
    assert site.browser().post("/imports/look", files={"file": ("a.csv", CSV)}).url.path == "/sign-in"
    assert list(folders.iterdir()) == []


def test_a_file_is_its_bringers_alone_and_is_forgotten_after_a_while(site: ConsoleSite, folders: Path) -> None:
    browser = signed_in(site)
    page = look(browser)
    assert site.signed_in().get(page.url.path).status_code == 404
    assert browser.post(f"{page.url.path}/commit", data={"csrf": "no"}).status_code == 403
    site.context.uploads.expire(site.clock() + LIFE * 2)
    assert browser.get(page.url.path).status_code == 404
    assert list(folders.iterdir()) == []


def test_a_file_may_be_put_aside(site: ConsoleSite, folders: Path, publisher: Publisher) -> None:
    browser = signed_in(site)
    page = look(browser)
    after = browser.post(f"{page.url.path}/drop", data={"csrf": csrf_of(page)})
    assert "The file is removed." in text_of(after.text)
    assert list(folders.iterdir()) == []
    assert publisher.events == []


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.pages.imports.MOST_BYTES", 0)
    monkeypatch.setattr("console.pages.imports.FORM_BYTES", 10)
    answer = look(signed_in(site))
    assert answer.status_code == 409
    assert "The file is too large" in text_of(answer.text)


@pytest.mark.parametrize(
    ("said", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\data\\march.csv", "march.csv"), ("a\x00\n.csv", "a__.csv"), ("..", "file")],
)
def test_a_file_stands_under_a_name_that_leads_nowhere(said: str, kept: str) -> None:
    assert safe_name(said) == kept


def test_of_many_files_the_oldest_goes(site: ConsoleSite, monkeypatch: pytest.MonkeyPatch, folders: Path) -> None:
    monkeypatch.setattr(uploads, "MOST", 2)
    browser = signed_in(site)
    pages = [look(browser) for _ in range(3)]
    assert [browser.get(page.url.path).status_code for page in pages] == [404, 200, 200]
    assert len(list(folders.iterdir())) == 2


def api(site: ConsoleSite, role: Role = "hr") -> dict[str, str]:
    """The headers of a program."""
    text = f"{TOKEN_MARK}t1_secret"
    site.users.put(ApiToken("t1", "payroll", sha256(text.encode()).hexdigest(), START, "root", role=role))
    return {"authorization": f"Bearer {text}"}


def test_a_program_sends_a_file(site: ConsoleSite, publisher: Publisher, folders: Path) -> None:
    address = "/api/v1/imports?device=D1&file_name=march.csv"
    tried = site.browser().post(f"{address}&dry_run=true", content=CSV, headers=api(site)).json()
    assert (tried["rows"], tried["punches"], tried["failed"], tried["taken_in"]) == (3, 2, 1, False)
    assert tried["unknown_users"] == ["<u>9</u>"]
    assert [each["line"] for each in tried["problems"]] == [4]
    assert publisher.events == []
    assert site.browser().post(address, content=CSV, headers=api(site)).json()["taken_in"]
    assert len(publisher.events) == 2
    assert list(folders.iterdir()) == []
    assert len(site.context.uploads) == 0


def test_a_program_is_refused_like_a_person(
    site: ConsoleSite, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, browser = "/api/v1/imports?device=D1&file_name=march.csv", site.browser()
    assert browser.post(address, content=CSV).status_code == 401
    assert browser.post(address, content=CSV, headers=api(site, "viewer")).status_code == 403
    assert browser.post(address.replace("D1", "D9"), content=CSV, headers=api(site)).status_code == 409
    monkeypatch.setattr("console.api.imports.MOST_BYTES", 3)
    assert browser.post(address, content=CSV, headers=api(site)).status_code == 413
    assert publisher.events == []
