"""What others wrote is safe to show: on a terminal, in a log, in JSON."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.shown import shown, shown_in_a_line, shown_json

OBEYED = "\x1b\x9b\u202e\u2066\u200e\x00\x07\x08\x7f\r\ud800\U000e0001"


@pytest.mark.parametrize("char", OBEYED)
def test_what_a_terminal_obeys_is_shown_and_not_sent(char: str) -> None:
    assert shown(f"a{char}b") == f"a{char.encode('unicode_escape').decode()}b"


@pytest.mark.parametrize("text", ["Ünsal محمد 王", "می\u200cخواهم", "two\nlines\tand a tab"])  # noqa: RUF001 - Persian
def test_what_people_write_stays(text: str) -> None:
    assert shown(text) == text


def test_nobody_writes_a_line_of_ours() -> None:
    assert shown_in_a_line("7\n2026-01-01 [info] Balanced.") == "7\\n2026-01-01 [info] Balanced."


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_says_the_same_and_a_terminal_may_be_given_it(text: str) -> None:
    written = shown_json(json.dumps({"text": text}, ensure_ascii=False, indent=2))
    assert all(char.isprintable() or char in "\n\u200c\u200d" for char in written)
    if "://" not in text and "=" not in text:
        assert json.loads(written) == {"text": text}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://api:pa55@erp/x", "http://***@erp/x"),
        ("cannot reach https://t0ken@erp:8000: refused", "cannot reach https://***@erp:8000: refused"),
        ("http://api:p@55@erp", "http://***@erp"),
        ("GET /x?a=1&token=abc&b=2", "GET /x?a=1&token=***&b=2"),
        ("/x?X-Api-Key=1&api_key=abc", "/x?X-Api-Key=1&api_key=***"),
        ("/x?access_token=abc#y", "/x?access_token=***#y"),
        ("postgresql+psycopg://reader:s3cret@db/att", "postgresql+psycopg://***@db/att"),
    ],
)
def test_no_address_shows_its_password(text: str, masked: str) -> None:
    assert shown(text) == masked
    assert json.loads(shown_json(json.dumps({"text": text}))) == {"text": masked}


@pytest.mark.parametrize("text", ["mail hr@example.com", "http://erp/x?since=1&page=2", "a://b c@d", "key=7"])
def test_what_is_no_password_stays(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("part", ["&token", "://a@", "?", "\x1b", "&" + "x" * 40, "://"])
def test_no_text_makes_it_slow(part: str) -> None:
    def work(size: int) -> float:
        text = part * (size // len(part)) + "="
        return min(_seconds(text) for _ in range(5))

    # Twice the work is linear; four times would be quadratic. The machine is given room.
    assert work(80_000) < 3 * work(40_000) + 0.05


def _seconds(text: str) -> float:
    began = time.process_time()
    shown(text)
    return time.process_time() - began
