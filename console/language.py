"""Languages of the console: words by catalogue, and numbers, times and ages as each language writes them."""

import gettext
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Final

from babel import Locale, negotiate_locale
from babel.dates import format_date, format_skeleton, format_timedelta
from babel.lists import format_list
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from attendance.times import zone

SOURCE: Final = "en"
"""The language in which templates and modules are written."""
_CATALOGUE: Final = "console.po"
_DIGITS: Final = "latn"  # ids, dates of files and numbers of devices have these digits everywhere


def marked(message: str) -> str:
    """The message itself, which is translated where it is shown. It marks it for whoever makes catalogues."""
    return message


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    Attributes:
        locale: What Babel knows of it.
        words: Its catalogue.
    """

    locale: Locale
    words: gettext.NullTranslations = field(repr=False)

    @property
    def code(self) -> str:
        """As in HTML's `lang`, such as `ar` or `pt-BR`."""
        return str(self.locale).replace("_", "-")

    @property
    def name(self) -> str:
        """In the language itself."""
        return self.locale.get_display_name() or self.code

    @property
    def direction(self) -> str:
        """`ltr` or `rtl`."""
        return self.locale.text_direction

    def say(self, message: str) -> str:
        """A message of the console in this language."""
        return self.words.gettext(message)

    def number(self, number: float) -> str:
        """A number, with its groups."""
        return _decimal(self.locale, number)

    def ago(self, seconds: float) -> str:
        """How long ago something was, rounded, such as `3 minutes ago`; a second ago at least."""
        return format_timedelta(timedelta(seconds=-max(1.0, seconds)), add_direction=True, locale=self.locale)

    def lasting(self, seconds: float) -> str:
        """How long something lasts, rounded, such as `3 minutes`."""
        return format_timedelta(timedelta(seconds=abs(seconds)), locale=self.locale)

    def clock(self, instant: datetime, zone_name: str) -> str:
        """Day and time of day in a zone, to the second."""
        at = instant.astimezone(zone(zone_name))
        return f"{self.day(at.date())} {at:%H:%M:%S}"

    def day(self, day: date) -> str:
        """A date with its weekday."""
        return format_skeleton("yMMMEd", datetime(day.year, day.month, day.day), locale=self.locale)  # noqa: DTZ001 - a date has no zone

    def weekdays(self, numbers: Iterable[int]) -> str:
        """The names of days of the week, of which Monday is 0."""
        return format_list([self.locale.days["format"]["wide"][each] for each in numbers], locale=self.locale)

    def weekday(self, day: date) -> str:
        """The name of a day of the week."""
        return format_date(day, "EEEE", locale=self.locale)


@lru_cache(maxsize=10_000)
def _decimal(locale: Locale, number: float) -> str:
    # Tables have hundreds of numbers, most of them small, and each takes as long as a row of the database.
    return format_decimal(number, locale=locale, numbering_system=_DIGITS)


@cache
def languages() -> Mapping[str, Language]:
    """Every language that has a catalogue, by its code, and the one in which the console is written."""
    found = {SOURCE: Language(Locale.parse(SOURCE), gettext.NullTranslations())}
    for folder in sorted(files("console").joinpath("locale").iterdir(), key=lambda each: each.name):
        catalogue = folder.joinpath(_CATALOGUE)
        if catalogue.is_file():
            language = Language(Locale.parse(folder.name), _words(catalogue))
            found[language.code] = language
    return found


def choose(wanted: str | None, accepted: str, default: str) -> Language:
    """The language for a request.

    Args:
        wanted: The code that the user chose; None where there was no choice.
        accepted: The header `Accept-Language`.
        default: The code for whoever asks for nothing that is there.
    """
    known = languages()
    if wanted is not None and wanted in known:
        return known[wanted]
    asked = [part.partition(";")[0].strip() for part in accepted[:500].split(",")]
    best = negotiate_locale([each for each in asked if each], list(known), sep="-")
    return known.get(best or default, known[SOURCE])


def _words(catalogue: Traversable) -> gettext.GNUTranslations:
    compiled = BytesIO()
    with catalogue.open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
