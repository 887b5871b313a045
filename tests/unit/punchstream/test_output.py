"""Whatever is printed for people: no word of it is broken or cut, at any width, on a terminal and in a pipe."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchstream.output import csv_cell, print_facts, print_json, print_json_list, print_whole, say, show, terminal

ROOT = Path(__file__).parents[3]
WORD = "HR-EMP-" + "0123456789" * 9
OBEYED = "7\x1b[2J\x9b\u202e\x07"
PLACES = ("", "1")  # FORCE_COLOR has rich take a pipe for a terminal


@pytest.fixture(params=[(columns, place) for columns in ("20", "60", "80", "400") for place in PLACES])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    columns, place = request.param
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", place)
    return int(columns)


@pytest.mark.usefixtures("width")
def test_no_word_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(WORD, "some words that may be wrapped", WORD), (1, None, ("a", WORD))]
    for names in (("a", "b", "c"), (WORD, "b", "c"), ("a", "b", WORD)):
        print_whole(names, rows)
        assert capsys.readouterr().out.count(WORD) >= 3 + (WORD in names)


@pytest.mark.usefixtures("width")
def test_no_fact_and_no_sentence_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts([("name", f"x {WORD}"), (WORD, None), ("lines", f"first\n{WORD}")])
    assert capsys.readouterr().out.count(WORD) == 3
    terminal().print(f"Without an outcome: {WORD}, {WORD}", style="red")
    assert capsys.readouterr().out.count(WORD) == 2
    show([{"id": WORD}], as_json=False)
    assert WORD in capsys.readouterr().out


def test_a_sentence_is_wrapped_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal().print("Each of the punches was delivered,\nand none is missing.")
    assert capsys.readouterr().out.splitlines() == ["Each of the punches was", "delivered,", "and none is missing."]
    terminal().print("curl http://127.0.0.1:8080/v1/events -d '{}'", soft_wrap=True)
    assert len(capsys.readouterr().out.splitlines()) == 1, "it is to be copied"


def test_a_column_of_sentences_is_wrapped_between_words_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [("NAME", "these are more words than a line of the terminal has room for")]
    print_whole(("name", "meaning"), rows)
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_whole(("name", "meaning"), rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["name", "NAME", "    "]
    assert max(map(len, lines)) <= 60


def test_a_new_line_in_a_text_of_others_begins_no_row_and_the_lines_of_a_cell_stand_below_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_whole(("device", "at"), [("A\nFORGED", ("first", "last")), ("B", ())])
    assert capsys.readouterr().out.splitlines() == ["device    at", "A FORGED  first", "          last", "B"]


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(lambda text: print_whole(("a", "b"), [(text, (text, 1))]), id="cells"),
        pytest.param(lambda text: print_facts([(text, text)]), id="facts"),
        pytest.param(lambda text: terminal().print(f"A sentence of {text}."), id="a sentence"),
        pytest.param(lambda text: terminal(soft_wrap=True).print(text), id="a long line"),
        pytest.param(say, id="lines"),
        pytest.param(lambda text: show([{"a": text}], as_json=False), id="a table"),
        pytest.param(lambda text: show([{"a": text}], as_json=True), id="JSON"),
        pytest.param(lambda text: show([{"a": text}], as_json=False, as_csv=True), id="CSV"),
        pytest.param(lambda text: print_json({text: [text]}), id="an object"),
        pytest.param(lambda text: print_json_list([text]), id="a list"),
    ],
)
def test_what_a_terminal_obeys_is_printed_as_what_it_is(
    capsys: pytest.CaptureFixture[str], door: Callable[[str], object]
) -> None:
    door(OBEYED)
    printed = capsys.readouterr().out
    assert "[2J" in printed
    assert not set("\x1b\x9b\u202e\x07") & set(printed)


def test_without_rows_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_whole(("a",), [])
    show([], as_json=False)
    assert capsys.readouterr().out == ""
    show([], as_json=True)
    assert capsys.readouterr().out == "[]\n"


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00")))
def test_a_cell_of_csv_is_no_formula(text: str) -> None:
    assert str(csv_cell(text))[:1] not in {"=", "+", "-", "@", "\t", "\r"}


def test_no_command_makes_a_table_of_its_own() -> None:
    """A table of rich folds or cuts what does not fit."""
    commands = [*(ROOT / "punchstream" / "commands").glob("*.py"), ROOT / "punchstream" / "output.py"]
    assert commands
    assert not [path.name for path in commands if "rich.table" in path.read_text()]
