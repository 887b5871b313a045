"""A fleet file that somebody made to do harm, or by mistake: it is refused in one line, quickly."""

from pathlib import Path

import pytest

from attendance.errors import ConfigurationError
from attendance.fleet_file import parse

TENFOLD = b"".join(b"- &l%d [%s]\n" % (level, b", ".join([b"*l%d" % (level - 1)] * 10)) for level in range(1, 9))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"- " * 200_000 + b"x", "nested more than 50 deep", id="lists in lists"),
        pytest.param(b"[" * 200_000, "nested more than 50 deep", id="brackets"),
        pytest.param(b"- &l0 [x]\n" + TENFOLD, "more than 2,000,000 values", id="aliases of aliases"),
        pytest.param(b"- &me {device_id: A, options: *me}", "an alias stands in what it stands for", id="a circle"),
        pytest.param(b"- {device_id: A, site: x, site: y}", "'site' is given twice", id="a key twice"),
        pytest.param(b"- device_id: A\n  options: {a: {b: 1, b: 2}}", "'b' is given twice", id="a key twice within"),
        pytest.param(b"- !!python/object/apply:os.getcwd []", "could not determine a constructor", id="an object"),
        pytest.param(b"- device_id: \x00", "control characters are not allowed", id="a control character"),
        pytest.param(b"\xff\xfe\xfa", "not YAML", id="no text"),
        pytest.param(b"- {installed_on: 2026-02-30}", "day is out of range", id="a day that is none"),
    ],
)
def test_what_is_no_fleet_file_is_refused_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse(Path("devices.yaml"), content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf- {device_id: A}\r\n", b"\r\n- device_id: A\r\n"])
def test_byte_order_marks_and_line_ends_of_other_systems_change_nothing(content: bytes) -> None:
    [entry] = parse(Path("devices.yaml"), content)
    assert entry.fields == {"device_id": "A"}


def test_anchors_and_merges_stay_possible_and_each_entry_has_its_line() -> None:
    content = b"- &first {device_id: A, site: hq}\n\n- <<: *first\n  device_id: B\n"
    first, second = parse(Path("devices.yaml"), content)
    assert (first.where, second.where) == ("devices.yaml:1", "devices.yaml:3")
    assert second.fields == {"device_id": "B", "site": "hq"}
