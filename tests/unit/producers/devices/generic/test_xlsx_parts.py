"""A workbook that would cost much room or time is refused before it does."""

import io
import tracemalloc
from collections.abc import Mapping
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from producers.devices.generic import xlsx_parts
from producers.devices.generic.xlsx_parts import MOST_COLUMNS, TooLarge, look_at

SHEET = "xl/worksheets/sheet1.xml"
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LITTLE = 24 * 2**20  # bytes


def workbook(parts: Mapping[str, str | bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return file


def look(content: str | bytes, name: str = SHEET) -> bool:
    with ZipFile(workbook({name: content})) as file:
        return look_at(file).has_formulas


def sheet(rows: str) -> str:
    return f'<worksheet xmlns="{NAMESPACE}"><sheetData>{rows}</sheetData></worksheet>'


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("cells", sheet(f"<row>{'<c/>' * (MOST_COLUMNS + 1)}</row>")),
        ("cells", sheet('<row><c r="XFE1"/></row>')),
        ("cells", sheet('<row><c r="XFD1"/></row>' * 1_300)),
        ("nested", "<a>" * 200_000),
        ("nested", sheet(f"<row><c>{'<is>' * 100}</c></row>")),
        ("elements", f"<a>{'<t/>' * 60_000}</a>"),
        ("elements", sheet(f"<row><c><is>{'<t/>' * 200_000}</is></c></row>")),
        ("rows and texts", f"<sst>{'<si/>' * 60_000}</sst>"),
        ("text", sheet(f'<row><c t="str"><v>{"x" * 2_000_000}</v></c></row>')),
        ("tag", f'<a b="{"x" * 3_000_000}"/>'),
        ("tag", "<a" + "".join(f' b{number}="1"' for number in range(300_000)) + "/>"),
        ("document type", '<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'),
        ("cells", sheet('<row><c r="XFE1"/></row>').encode("utf-16")),
    ],
)
def test_what_no_log_of_punches_has_is_refused_in_little_memory(
    what: str, content: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx_parts, "_MOST_RECORDS", 50_000)
    monkeypatch.setattr(xlsx_parts, "_MOST_OTHERS", 50_000)
    file = workbook({SHEET: content})
    tracemalloc.start()
    try:
        with ZipFile(file) as opened, pytest.raises(TooLarge, match=what):
            look_at(opened)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < LITTLE


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (sheet('<row><c r="A1"><v>1</v></c></row>'), False),
        (sheet('<row><c r="A1"><f>1+1</f><v>2</v></c></row>'), True),
        (f'<x:worksheet xmlns:x="{NAMESPACE}"><x:row><x:c><x:f/></x:c></x:row></x:worksheet>', True),
        (sheet('<row><c r="XFD1"/></row>' * 1_000), False),
        ("<sst>" + "<si><t>f</t></si>" * 100_000 + "</sst>", False),
        (b"\x89PNG\r\n", False),
        (b"", False),
    ],
)
def test_a_table_is_looked_at_for_formulas(content: str | bytes, expected: object) -> None:
    assert look(content) is expected
