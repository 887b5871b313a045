"""Every message of the console is in every catalogue."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from console.language import choose, languages

CONSOLE = Path(__file__).parents[3] / "console"
CATALOGUES = sorted((CONSOLE / "locale").glob("*/console.po"))
PLACE = re.compile(r"%\(\w+\)s")
SAME = {"HR", "IT"}
"""Words that a language may have as they are."""


def messages() -> set[str | tuple[str, ...]]:
    """What modules and templates say."""
    found = set()
    for path in CONSOLE.rglob("*.py"):
        found |= {each[1] for each in extract_from_file("python", path, keywords={"_": None})}
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    for path in CONSOLE.rglob("*.html"):
        found |= {each[1] for each in extract_from_file("jinja2.ext:babel_extract", path, keywords=keywords)}
    return found


def translations(catalogue: Path) -> Iterator[Message]:
    with catalogue.open("rb") as file:
        yield from (message for message in read_po(file) if message.id)


def texts(of: str | tuple[str, ...] | list[str]) -> list[str]:
    return [of] if isinstance(of, str) else [*of]


def test_there_is_something_to_translate() -> None:
    assert len(messages()) > 150
    assert [each.parent.name for each in CATALOGUES] == ["ar"]


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parent.name)
def test_a_catalogue_has_every_message_and_no_other(catalogue: Path) -> None:
    known = {tuple(each.id) if isinstance(each.id, (list, tuple)) else each.id for each in translations(catalogue)}
    assert known == messages()


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parent.name)
def test_a_catalogue_has_a_message_once(catalogue: Path) -> None:
    with catalogue.open("rb") as file:
        read_po(file, abort_invalid=True)
    written = re.findall(r'^msgid ("(?:.*"\n")*.*")$', catalogue.read_text(), re.MULTILINE)
    assert sorted(set(written)) == sorted(written)


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parent.name)
def test_every_message_is_translated_with_its_places(catalogue: Path) -> None:
    for message in translations(catalogue):
        said = texts(message.string)
        assert all(said), message.id
        assert not message.fuzzy, message.id
        for each in said:
            assert each not in texts(message.id) or each in SAME
            assert set(PLACE.findall(each)) == set(PLACE.findall(texts(message.id)[-1])), message.id


@pytest.mark.parametrize(
    ("wanted", "accepted", "chosen"),
    [
        (None, "", "en"),
        (None, "ar-SA,ar;q=0.9,en;q=0.5", "ar"),
        (None, "de, fr", "en"),
        ("ar", "en", "ar"),
        ("nothing", "ar", "ar"),
        (None, "\x00;;,,=,*", "en"),
    ],
)
def test_a_language_is_chosen(wanted: str | None, accepted: str, chosen: str) -> None:
    assert choose(wanted, accepted, "en").code == chosen


def test_numbers_and_ages_are_in_the_language_with_digits_that_devices_have() -> None:
    arabic = languages()["ar"]
    assert arabic.direction == "rtl"
    assert arabic.number(12345) == "12,345"
    assert languages()["en"].ago(180) == "3 minutes ago"
    assert arabic.ago(180) != languages()["en"].ago(180)
    assert languages()["en"].ago(-5) == "1 second ago"
