"""One interface: what is asked, and what its answer says of where to go on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

import httpx

from attendance.errors import DeviceRefused, InvalidRecord, UnreadableAnswer
from attendance.fleet import Device
from attendance.times import earliest_wall_clock, format_seconds, zone
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.options import read_options
from producers.devices.contract import Tools
from producers.devices.generic.rest.options import RestOptions
from producers.devices.generic.rest.records import dig
from producers.devices.generic.rest.templates import filled


@dataclass(frozen=True, slots=True)
class Start:
    """Where a reading begins, and the latest time that it asks for: `{from}`, `{to}` and `{cursor}`."""

    time: datetime
    until: datetime
    number: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Which part of a reading is asked for.

    `seen` is how many records came before, `previous` the last of their pages, `total` how many there must be in all.
    `asked` are the addresses that were asked in this reading, shortened, as an address may be of any length.
    """

    start: Start
    page: int
    seen: int = 0
    previous: Sequence[object] = ()
    total: int = 0
    link: httpx.URL | None = None
    asked: set[bytes] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Part:
    """One answer.

    `following` is None after the last; `fault` says what cannot be right. `dead_end` is why nobody can go on from here
    though there is more: the records are as good as any.
    """

    records: Sequence[object]
    following: Place | None
    fault: str | None = None
    dead_end: DeviceRefused | UnreadableAnswer | None = None


class Interface:
    """One device's interface, as its entry describes it."""

    def __init__(self, tools: Tools, device: Device) -> None:
        self.options = read_options(device, RestOptions)
        self._base = base_url(device, self.options).join(self.options.path)
        self._tools = tools
        self._device = device
        self._zone = self.options.timezone or device.timezone

    async def ask(self, place: Place) -> HttpAnswer:
        """The answer for a place."""
        options = self.options
        headers, auth = self._credentials()
        return await ask(
            self._tools.http,
            self._device.device_id,
            options.method,
            place.link or self._base,
            headers=headers,
            # A link has its query already.
            params=None if place.link else self._query(place),
            json=None if options.body is None else filled(options.body, self._values(place)),
            auth=auth,
        )

    def read(self, answer: HttpAnswer, place: Place) -> Part:
        """What an answer says.

        Args:
            answer: The answer.
            place: What was asked for.

        Raises:
            UnreadableAnswer: it has no list of records where the entry says.
        """
        options = self.options
        content = answer.json()
        try:
            records = dig(content, options.records)
            total = None if options.total is None else dig(content, options.total)
            onward = None if options.paging.next is None else dig(content, options.paging.next)
        except InvalidRecord as error:
            raise UnreadableAnswer(f"{answer.asked}: {error.message}") from error
        if not isinstance(records, list):
            raise UnreadableAnswer(f"{answer.asked}: no list at {options.records or 'the top'}")
        if options.total is not None and (not isinstance(total, int) or isinstance(total, bool) or total < 0):
            raise UnreadableAnswer(f"{answer.asked}: no number at {options.total}")
        assert total is None or isinstance(total, int)
        seen = place.seen + len(records)
        link, dead_end = None, None
        try:
            link = self._link(onward, place, answer)
        except (DeviceRefused, UnreadableAnswer) as error:
            dead_end = error
        match options.paging.by:
            case "none":
                last = True
            case "next":
                last = link is None and dead_end is None
            case _:
                # Not at a page that is not full: the other side may allow fewer than were asked for.
                last = not records or (total is not None and seen >= total)
        here = Place(place.start, place.page + 1, seen, records, total or 0, link, place.asked)
        following = None if last or dead_end is not None else here
        return Part(records, following, _fault(place, here, last=last), dead_end)

    def _link(self, link_text: object, place: Place, answer: HttpAnswer) -> httpx.URL | None:
        if link_text is None or link_text == "":
            return None
        try:
            link = (place.link or self._base).join(str(link_text))
            there = (link.scheme, link.host, _port(link))
        except (httpx.InvalidURL, UnicodeError) as error:
            raise UnreadableAnswer(f"{answer.asked}: no link at {self.options.paging.next}") from error
        if there != (self._base.scheme, self._base.host, _port(self._base)):
            # Whoever could write that link would be sent our credentials.
            raise DeviceRefused(f"{answer.asked}: its next link leads to another host")
        if link == place.link:
            raise UnreadableAnswer(f"{answer.asked}: its next link leads to itself")
        place.asked.add(_digest(place.link or self._first(place)))
        if _digest(link) in place.asked:
            raise UnreadableAnswer(f"{answer.asked}: its next link leads back to a page that was read before")
        return link

    def _first(self, place: Place) -> httpx.URL:
        """Where a reading begins."""
        return self._base.copy_merge_params(self._query(place))

    def _query(self, place: Place) -> dict[str, str]:
        values = self._values(place)
        return {name: str(filled(text, values)) for name, text in self.options.query.items()}

    def _values(self, place: Place) -> dict[str, str | int]:
        return {
            "from": self._written(place.start.time),
            "to": self._written(place.start.until),
            "cursor": place.start.number,
            "page": place.page,
            "offset": place.seen,
            "size": self.options.paging.size,
        }

    def _written(self, instant: datetime) -> str | int:
        match self.options.time_format:
            case "epoch":
                return int(instant.timestamp())
            case "epoch_ms":
                return int(instant.timestamp()) * 1000
            case "iso":
                return format_seconds(instant)
            case form:
                if "%z" in form:
                    return instant.astimezone(zone(self._zone)).strftime(form)
                return earliest_wall_clock(instant, self._zone).strftime(form)

    def _credentials(self) -> tuple[dict[str, str], httpx.BasicAuth | None]:
        def secret(name: str) -> str:
            return self._tools.secret(self._device, name)

        match self.options.auth:
            case "basic":
                return {}, httpx.BasicAuth(secret("user"), secret("password"))
            case "bearer":
                return {"authorization": f"Bearer {secret('token')}"}, None
            case "header":
                return {self.options.auth_header: secret("token")}, None
            case _:
                return {}, None


def _fault(before: Place, after: Place, *, last: bool) -> str | None:
    """What cannot be right about the answer between two places."""
    if after.total < before.total:
        return f"of {before.total} records only {after.total} are left while they are read"
    if last and after.seen < after.total:
        return f"{after.seen} records where {after.total} must be"
    if after.previous and after.previous == before.previous:
        return "the same page again where the next one must be"
    return None


def _digest(url: httpx.URL) -> bytes:
    """An address without its fragment, which is not asked for."""
    return blake2b(str(url).partition("#")[0].encode(errors="surrogatepass"), digest_size=16).digest()


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
