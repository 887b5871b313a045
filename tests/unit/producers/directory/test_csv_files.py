"""User maps from CSV files: how they are read, and what of them is written to the topic."""

import asyncio
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import ConfigurationError
from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, device_scope, site_scope
from attendance.settings import KafkaSettings
from memory_broker import MemoryBroker, install
from producers.directory.csv_files import ImportResult, InvalidUserMapFile, import_csv, read_csv
from producers.directory.user_map import read_user_map


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.csv"


def everywhere(user: str, employee: str) -> UserMapping:
    return UserMapping(EVERYWHERE, user, employee, "csv")


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_however_the_spreadsheet_wrote_it(
    file: Path, delimiter: str, encoding: str, newline: str
) -> None:
    lines = ["device_user_id,employee,site", "007,HR-EMP-1,", "A12,محمد,الرياض", ""]
    file.write_bytes(newline.join(lines).replace(",", delimiter).encode(encoding))
    assert read_csv(file) == [
        everywhere("007", "HR-EMP-1"),
        UserMapping(site_scope("الرياض"), "A12", "محمد", "csv"),
    ]


def test_each_row_has_the_scope_that_it_names(file: Path) -> None:
    file.write_text("site,device_id,employee,device_user_id\n,,E1,1\nriyadh,,E2,1\n,gate-1,E3,1\n")
    assert read_csv(file) == [
        everywhere("1", "E1"),
        UserMapping(site_scope("riyadh"), "1", "E2", "csv"),
        UserMapping(device_scope("gate-1"), "1", "E3", "csv"),
    ]


def test_empty_rows_and_spaces_around_values_do_not_matter(file: Path) -> None:
    file.write_text(" device_user_id , employee \n\n 007 , E1 \n,\n")
    assert read_csv(file) == [everywhere("007", "E1")]


def test_a_row_that_is_there_twice_counts_once(file: Path) -> None:
    file.write_text("device_user_id,employee\n1,E1\n1,E1\n")
    assert read_csv(file) == [everywhere("1", "E1")]


def test_one_user_is_two_employees_only_in_different_scopes(file: Path) -> None:
    file.write_text("device_user_id,employee,site\n1,E1,\n1,E2,riyadh\n1,E3,riyadh\n")
    with pytest.raises(InvalidUserMapFile) as caught:
        read_csv(file)
    assert caught.value.problems == ("line 4: this user is E3 here and E2 on line 3",)


def test_every_wrong_row_is_named_by_its_line(file: Path) -> None:
    file.write_text(
        "device_user_id,employee,site,device_id\n"
        "1,E1,,\n"
        ",E2,,\n"
        "3,,,\n"
        "\n"
        "4,E4,riyadh,gate-1\n"
        "5,E5\n"
        "6,E6,,,,\n"
        '"7","quoted, with a\nline break",,\n'
        "8,,,\n"
    )
    with pytest.raises(InvalidUserMapFile) as caught:
        read_csv(file)
    assert caught.value.problems == (
        "line 3: no device_user_id",
        "line 4: no employee",
        "line 6: site and device_id are both given",
        "line 7: 2 values for 4 columns",
        "line 8: 6 values for 4 columns",
        "line 11: no employee",
    )
    assert str(caught.value) == f"{file}: 6 rows are wrong; the first: line 3: no device_user_id"


def test_a_quote_that_never_ends_is_a_wrong_row(file: Path) -> None:
    file.write_text('device_user_id,employee\n1,E1\n2,"E2\n')
    with pytest.raises(InvalidUserMapFile, match="line 3"):
        read_csv(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column device_user_id"),
        (b"device_user_id\n1\n", "no column employee"),
        (b"1,E1\n2,E2\n", "no column device_user_id"),
        (b"device_user_id,employee,sites\n1,E1,riyadh\n", "'sites' that is unknown"),
        (b"device_user_id,employee,employee\n1,E1,E1\n", "'employee' that is unknown or there twice"),
        ("device_user_id,employee\n1,José\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_csv(file)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"users\.csv: No such file"):
        read_csv(file)


cells = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(
    users=st.dictionaries(st.tuples(st.just("") | cells, cells), cells, max_size=20), delimiter=st.sampled_from(",;")
)
def test_what_a_spreadsheet_writes_is_read_back(
    users: dict[tuple[str, str], str], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sheet = io.StringIO()
    writer = csv.writer(sheet, delimiter=delimiter)
    writer.writerow(["device_user_id", "employee", "site"])
    writer.writerows([user, employee, site] for (site, user), employee in users.items())
    file = tmp_path_factory.getbasetemp() / "users.csv"
    file.write_bytes(sheet.getvalue().encode())
    assert read_csv(file) == [
        UserMapping(site_scope(site) if site else EVERYWHERE, user, employee, "csv")
        for (site, user), employee in users.items()
    ]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBroker, KafkaSettings]:
    return install(monkeypatch)


def imported(settings: KafkaSettings, file: Path, *rows: str, replace: bool = False) -> ImportResult:
    file.write_text("\n".join(["device_user_id,employee", *rows]))
    return asyncio.run(import_csv(settings, file, replace=replace))


def mapped(settings: KafkaSettings) -> set[tuple[str, str, str]]:
    users = asyncio.run(read_user_map(settings))
    return {(each.device_user_id, each.employee, each.source) for each in users.mappings()}


def test_an_import_writes_what_is_new_and_names_employees_who_do_not_exist(
    kafka: tuple[MemoryBroker, KafkaSettings], file: Path
) -> None:
    broker, settings = kafka
    known = Employee("E1", "Active")
    broker.put(settings.topics["user_map"], known.encode(), known.key)
    assert imported(settings, file, "1,E1", "2,E9") == ImportResult(2, 0, 0, ("E9",))
    assert imported(settings, file, "1,E1", "2,E1") == ImportResult(1, 1, 0, ())
    assert mapped(settings) == {("1", "E1", "csv"), ("2", "E1", "csv")}


def test_an_import_removes_nothing_but_earlier_files_mappings_and_only_when_told_to(
    kafka: tuple[MemoryBroker, KafkaSettings], file: Path
) -> None:
    broker, settings = kafka
    of_erpnext = UserMapping(EVERYWHERE, "1", "E1", "erpnext")
    broker.put(settings.topics["user_map"], of_erpnext.encode(), of_erpnext.key)
    imported(settings, file, "1,E2", "2,E2")
    assert imported(settings, file, "2,E2").removed == 0
    assert imported(settings, file, "2,E2", replace=True).removed == 1
    assert mapped(settings) == {("1", "E1", "erpnext"), ("2", "E2", "csv")}


def test_a_foreign_record_on_the_topic_ends_no_import(kafka: tuple[MemoryBroker, KafkaSettings], file: Path) -> None:
    broker, settings = kafka
    for key, value in ((None, b"{}"), (b"\xff", b"\xff"), (b'["user","*","1","csv"]', b"[]")):
        broker.put(settings.topics["user_map"], value, key)
    imported(settings, file, "1,E1")
    assert mapped(settings) == {("1", "E1", "csv")}
