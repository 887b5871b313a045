"""What each topic holds of a person is declared, looked for, and on the page that says so."""

import re
from pathlib import Path

import pytest

from attendance.personal_data import HOLDINGS
from attendance.topics import FOREVER, TABLE, Name, Topics, topic_configs
from operations.personal_records import READ

PAGE = Path(__file__).parents[3] / "docs" / "privacy.md"


def test_every_topic_says_what_it_holds_of_a_person() -> None:
    assert HOLDINGS.keys() == TABLE.keys()


def test_every_topic_that_holds_something_of_a_person_is_looked_through() -> None:
    assert set(READ) == {name for name, holding in HOLDINGS.items() if holding.goes != "nothing"}


@pytest.mark.parametrize("name", TABLE)
def test_what_a_topic_holds_can_go_as_it_says(name: Name) -> None:
    configs = topic_configs(TABLE[name], 400)
    expires = configs["cleanup.policy"] == "delete" and configs["retention.ms"] != str(FOREVER)
    match HOLDINGS[name].goes:
        case "expires":
            assert expires
        case "removed":
            assert configs["cleanup.policy"] == "compact"
            assert "max.compaction.lag.ms" in configs
        case "rewritten":
            assert configs["cleanup.policy"] == "delete"


def test_the_page_says_the_same() -> None:
    rows = re.findall(r"^\| `(attendance\.[a-z0-9.-]+)` \| (.+) \| (\w+) \|$", PAGE.read_text(), re.MULTILINE)
    topics = Topics("attendance")
    assert rows == [(topics[name], holding.holds, holding.goes) for name, holding in HOLDINGS.items()]
