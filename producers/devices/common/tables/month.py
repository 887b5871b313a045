"""Which dates the columns of a monthly grid stand for."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

from attendance.errors import UnreadableFile
from producers.devices.common.tables.cells import text_of
from producers.devices.common.tables.dates import Order, is_of_another_calendar, to_moment

_WEEKDAYS: Final[Sequence[Sequence[str]]] = (
    ("monday", "mon", "mo", "الاثنين", "الإثنين", "اثنين", "周一", "星期一", "一"),
    ("tuesday", "tues", "tue", "tu", "الثلاثاء", "ثلاثاء", "周二", "星期二", "二"),
    ("wednesday", "wed", "we", "الأربعاء", "الاربعاء", "أربعاء", "周三", "星期三", "三"),
    ("thursday", "thurs", "thur", "thu", "th", "الخميس", "خميس", "周四", "星期四", "四"),
    ("friday", "fri", "fr", "الجمعة", "جمعة", "周五", "星期五", "五"),
    ("saturday", "sat", "sa", "السبت", "سبت", "周六", "星期六", "六"),
    ("sunday", "sun", "su", "الأحد", "الاحد", "أحد", "周日", "星期日", "日"),
)
_MONTHS: Final[Sequence[Sequence[str]]] = (
    ("january", "jan", "يناير", "كانون الثاني", "enero", "janvier"),
    ("february", "feb", "فبراير", "شباط", "febrero", "février"),
    ("march", "mar", "مارس", "آذار", "marzo", "mars"),
    ("april", "apr", "أبريل", "ابريل", "إبريل", "نيسان", "abril", "avril"),
    ("may", "مايو", "أيار", "mayo", "mai"),
    ("june", "jun", "يونيو", "حزيران", "junio", "juin"),
    ("july", "jul", "يوليو", "تموز", "julio", "juillet"),
    ("august", "aug", "أغسطس", "اغسطس", "آب", "agosto", "août"),
    ("september", "sept", "sep", "سبتمبر", "أيلول", "septiembre", "septembre"),
    ("october", "oct", "أكتوبر", "اكتوبر", "تشرين الأول", "octubre", "octobre"),
    ("november", "nov", "نوفمبر", "تشرين الثاني", "noviembre", "novembre"),
    ("december", "dec", "ديسمبر", "كانون الأول", "diciembre", "décembre"),
)
_WEEKDAY: Final[Mapping[str, int]] = {word: day for day, words in enumerate(_WEEKDAYS) for word in words}
_MONTH: Final[Mapping[str, int]] = {word: month for month, words in enumerate(_MONTHS, start=1) for word in words}
_ANY_MONTH: Final = "|".join(sorted(map(re.escape, _MONTH), key=len, reverse=True))
_FULL_DATE: Final = re.compile(
    r"(?<!\d)(?:20\d{2}[-/._]\d{1,2}[-/._]\d{1,2}|\d{1,2}[-/._ ](?:\d{1,2}|[^\W\d_]{3,9})[-/._ ]20\d{2})(?!\d)"
)
_PERIOD: Final = re.compile(
    rf"({_FULL_DATE.pattern})\s*(?:~|-|\u2013|/|to|till|until|الى|إلى|至)\s*({_FULL_DATE.pattern})"
)
_MONTH_AS_DATE: Final = re.compile(r"(?:month|شهر)\W{0,4}20\d{2}-\d{2}-01(?: 00:00:00)?(?!\d)")
_NAMED: Final = (
    re.compile(rf"(?<![^\W\d_])(?P<word>{_ANY_MONTH})(?![^\W\d_])\D{{0,12}}(?P<year>20\d{{2}})(?!\d)"),
    re.compile(rf"(?<!\d)(?P<year>20\d{{2}})\D{{0,12}}(?<![^\W\d_])(?P<word>{_ANY_MONTH})(?![^\W\d_])"),
)
_NUMBERED: Final = (
    re.compile(r"(?<!\d)(?P<year>20\d{2})\s?[-/._年]\s?(?P<month>\d{1,2})(?![\d:])"),
    re.compile(r"(?<![\d/.-])(?P<month>\d{1,2})\s?[-/._]\s?(?P<year>20\d{2})(?!\d)"),
    re.compile(r"(?:month|الشهر|شهر)\D{0,3}(?P<month>\d{1,2})(?!\d)\D{1,12}(?P<year>20\d{2})(?!\d)"),
    re.compile(r"(?:year|السنة|سنة)\D{0,3}(?P<year>20\d{2})(?!\d)\D{1,12}(?P<month>\d{1,2})(?!\d)"),
)
_DAY_MONTH: Final = re.compile(r"(\d{1,2})\s?[-/.\s]\s?(\d{1,2}|[^\W\d_]{3,9})\.?")
_MONTH_DAY: Final = re.compile(r"([^\W\d_]{3,9})\.?\s?[-/.\s]?\s?(\d{1,2})")
_DECORATION: Final = re.compile(r"^(?:day|d|يوم)\s*(?=\d)|(?<=\d)(?:st|nd|rd|th|日)(?![^\W\d_])")
_WORDS: Final = re.compile(r"[\s,()-]+|(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
_LONGEST: Final = timedelta(days=31)
_SHORTEST_MONTH: Final = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Day:
    """What the header of a column says of its date; None where it does not. `pair` is day and month in any order."""

    written: str
    day: int | None = None
    month: int | None = None
    whole: date | None = None
    weekday: int | None = None
    pair: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a text says of the month: a month, or the first and the last day. `place` is where it stands."""

    place: str
    month: tuple[int, int] | None = None
    texts: tuple[str, str] | None = None

    def __str__(self) -> str:
        said = f"{self.month[0]}-{self.month[1]:02}" if self.month else " to ".join(self.texts or ())
        return f"{self.place} says {said}"


def weekday_of(text: str) -> int | None:
    """The day of the week that a text names, from 0 for Monday; None where it names none."""
    return _WEEKDAY.get(text.strip(" .,()").casefold())


def day_of(value: object, order: Order | None) -> Day | None:
    """What a cell says of a date; None where it is no header of a day.

    Args:
        value: The cell.
        order: The order of day, month and year in whole dates.
    """
    written = " ".join(text_of(value).split())
    if isinstance(value, datetime | date):
        return Day(written, whole=value.date() if isinstance(value, datetime) else value)
    bare = _DECORATION.sub("", written.casefold())
    words = [each for each in _WORDS.split(bare) if each]
    weekdays = [found for each in words if (found := weekday_of(each)) is not None]
    if len(weekdays) > 1:
        return None
    rest = " ".join(each for each in words if weekday_of(each) is None) if weekdays else bare
    day = _read_day(rest, order)
    return day and replace(day, written=written, weekday=weekdays[0] if weekdays else None)


def _read_day(text: str, order: Order | None) -> Day | None:
    if text.isdecimal() and len(text) <= 2:
        return Day(text, int(text)) if 1 <= int(text) <= 31 else None
    if moment := to_moment(f"{text} 00:00", order):
        return Day(text, whole=moment.date())
    if match := _DAY_MONTH.fullmatch(text):
        first, second = match[1], match[2]
        if second.isdecimal():
            return Day(text, pair=(int(first), int(second)))
        return Day(text, int(first), _MONTH[second]) if second in _MONTH else None
    if (match := _MONTH_DAY.fullmatch(text)) and match[1] in _MONTH:
        return Day(text, int(match[2]), _MONTH[match[1]])
    return None


def find_evidence(place: str, text: str) -> Iterator[Evidence]:
    """What a text says of the month. One whole date says nothing: it may be that of the printing.

    Args:
        place: What messages call it.
        text: A row above the header, or a name.
    """
    period = _PERIOD.search(text)
    found = [period[1], period[2]] if period else _FULL_DATE.findall(text)
    if len(found) == 2:
        yield Evidence(place, texts=(found[0], found[1]))
        return
    # A spreadsheet keeps a month as its first day.
    if len(found) == 1 and _MONTH_AS_DATE.search(text.casefold()):
        yield Evidence(place, month=(int(found[0][:4]), int(found[0][5:7])))
        return
    rest = _FULL_DATE.sub(" | ", text).casefold()
    months = {
        (int(match["year"]), _MONTH[match["word"]]) for pattern in _NAMED for match in pattern.finditer(rest)
    } or {(int(match["year"]), int(match["month"])) for pattern in _NUMBERED for match in pattern.finditer(rest)}
    for year, month in sorted(months):
        if 1 <= month <= 12:
            yield Evidence(place, month=(year, month))


def dates_of(
    file: str, days: Sequence[Day], given: str | None, above: Sequence[Evidence], named: Sequence[Evidence]
) -> tuple[Sequence[date | None], str]:
    """The date of each column of days, and where the month is from.

    Args:
        file: What messages call the table.
        days: What the header says, from the first column to the last.
        given: `options.month`: a month, or the date of the first column.
        above: What stands above the header.
        named: What the names of the file and of the sheet say.

    Returns:
        The dates, None for a day that the month does not have; and a word for where the month is from.

    Raises:
        UnreadableFile: nothing says which month it is, or two say it differently, or the days of the week do not fit.
    """
    days = _with_months(file, days)
    if all(day.whole for day in days):
        found: Sequence[date | None] = [day.whole for day in days]
        source = "the header"
        _contradicts_nothing(file, found, given, "options.month")
    else:
        found, source = _from_month(file, days, given, above, named)
    known = [each for each in found if each is not None]
    if any(not timedelta() < later - earlier < _SHORTEST_MONTH for earlier, later in pairwise(known)) or not known:
        raise UnreadableFile(
            f"{file}: the dates of its columns do not follow each other, or their days and months are exchanged"
        )
    if is_of_another_calendar(known[0].year):
        raise UnreadableFile(
            f"{file}: the dates of its columns are of another calendar (Persian, Islamic or Buddhist); export it with "
            "Gregorian dates"
        )
    if known[-1] - known[0] > 2 * _LONGEST:
        raise UnreadableFile(f"{file}: its columns are more than two months")
    for day, each in zip(days, found, strict=True):
        if each is not None and day.weekday is not None and each.weekday() != day.weekday:
            raise UnreadableFile(f"{file}: {day.written!r} is another day of the week than {each}, by {source}")
    return found, source


def _with_months(file: str, days: Sequence[Day]) -> Sequence[Day]:
    """The days, where day and month are numbers: the one that goes up from column to column is the day."""
    pairs = [day.pair for day in days if day.pair]
    if not pairs:
        return days
    if len(pairs) != len(days):
        raise UnreadableFile(f"{file}: the dates of its columns are written in different ways")
    ways = []
    for day_place in (0, 1):
        numbers = [pair[day_place] for pair in pairs]
        months = [pair[1 - day_place] for pair in pairs]
        follow = all(
            (later > earlier and month == before) or (later == 1 and month == before % 12 + 1)
            for earlier, later, before, month in zip(numbers, numbers[1:], months, months[1:], strict=False)
        )
        if follow and all(1 <= each <= 12 for each in months) and all(1 <= each <= 31 for each in numbers):
            ways.append((numbers, months))
    if len(ways) != 1:
        raise UnreadableFile(f"{file}: day and month could be exchanged in the header {days[0].written!r}")
    numbers, months = ways[0]
    return [
        Day(day.written, number, month, weekday=day.weekday)
        for day, number, month in zip(days, numbers, months, strict=True)
    ]


def _from_month(
    file: str, days: Sequence[Day], given: str | None, above: Sequence[Evidence], named: Sequence[Evidence]
) -> tuple[Sequence[date | None], str]:
    if any(day.day is None for day in days):
        raise UnreadableFile(f"{file}: the dates of its columns are written in different ways")
    if given is not None:
        found = _place(file, days, _first_of(given), whole=len(given) > len("2026-01"))
        for each in above:
            if not _agrees(each, days, found):
                raise UnreadableFile(f"{file}: options.month says {given}, but {each}")
        return found, "options.month"
    read: list[tuple[Evidence, Sequence[date | None]]] = []
    for each in (*above, *named):
        if each.month is not None:
            read.append((each, _place(file, days, date(*each.month, 1), whole=False)))
        elif each.texts is not None:
            read.extend((each, way) for way in _ways_of_period(file, days, each.texts))
    if not read:
        unclear = next((str(each) for each in (*above, *named)), None)
        raise UnreadableFile(
            f"{file}: which month it is of stands neither above its header nor in its name"
            f"{f' ({unclear}, which does not fit its columns)' if unclear else ''}; options.month says it (2026-01), "
            "or the date of its first column (2026-01-26)"
        )
    if len({tuple(way) for _, way in read}) > 1:
        said = " and ".join(dict.fromkeys(str(each) for each, _ in read))
        raise UnreadableFile(f"{file}: {said}; options.month decides")
    return read[0][1], read[0][0].place


def _place(file: str, days: Sequence[Day], first: date, *, whole: bool) -> Sequence[date | None]:
    """The date of each day. `first` is that of the first column if it is `whole`, else the first of a month.

    Raises:
        UnreadableFile: it cannot be, or the columns go on into another month and nothing says which is the first.
    """
    numbers = [day.day or 0 for day in days]
    goes_on = any(later <= earlier for earlier, later in pairwise(numbers))
    if whole and first.day != numbers[0]:
        raise UnreadableFile(f"{file}: its first column is {days[0].written!r}, and not {first}")
    if goes_on and not whole:
        if all(day.month for day in days):
            first = _start(days, first)
        else:
            raise UnreadableFile(
                f"{file}: its columns go from day {numbers[0]} of one month into the next; options.month says the date "
                "of the first column (2026-01-26)"
            )
    year, month = first.year, first.month
    found: list[date | None] = []
    for place, number in enumerate(numbers):
        if place and number <= numbers[place - 1]:
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        written = days[place].month
        if written is not None and written != month:
            raise UnreadableFile(
                f"{file}: its column {days[place].written!r} is of another month than {year}-{month:02}"
            )
        try:
            found.append(date(year, month, number))
        except ValueError:
            found.append(None)
    return found


def _start(days: Sequence[Day], month: date) -> date:
    """The month in which columns begin that name their months, where `month` is that of the first or the last."""
    first, last = days[0].month or 0, days[-1].month or 0
    if month.month == last and first > last:
        return date(month.year - 1, first, 1)
    return date(month.year, first, 1)


def _ways_of_period(file: str, days: Sequence[Day], texts: tuple[str, str]) -> Iterable[Sequence[date | None]]:
    """The dates of the columns, by each order of day and month in which a period can be theirs."""
    ways: dict[tuple[date | None, ...], None] = {}
    for order in ("ymd", "dmy", "mdy"):
        first, last = (_moment(each, order) for each in texts)
        if first is None or last is None or not timedelta() <= last - first <= _LONGEST:
            continue
        try:
            found = _place(file, days, first, whole=first.day == days[0].day)
        except UnreadableFile:
            continue
        known = [each for each in found if each is not None]
        # A grid may have columns for all days of a month of which the period is a part.
        if known and known[0] <= first and last <= known[-1]:
            ways[tuple(found)] = None
    return ways


def _agrees(evidence: Evidence, days: Sequence[Day], found: Sequence[date | None]) -> bool:
    if evidence.texts is not None:
        return any(list(way) == list(found) for way in _ways_of_period("", days, evidence.texts))
    return evidence.month in {(each.year, each.month) for each in found if each is not None}


def _moment(text: str, order: Order) -> date | None:
    moment = to_moment(f"{text} 00:00", order)
    return None if moment is None else moment.date()


def _first_of(given: str) -> date:
    return date.fromisoformat(given if len(given) > len("2026-01") else f"{given}-01")


def _contradicts_nothing(file: str, found: Sequence[date | None], given: str | None, place: str) -> None:
    if given is None:
        return
    first = next(each for each in found if each is not None)
    if not str(first).startswith(given) and (first.year, first.month) != (
        _first_of(given).year,
        _first_of(given).month,
    ):
        raise UnreadableFile(f"{file}: {place} says {given}, but its first column is {first}")
