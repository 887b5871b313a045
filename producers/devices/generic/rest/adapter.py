"""The adapter: an interface is asked part by part, and its cursor moves with what was read."""

from collections.abc import AsyncIterator
from typing import Final

from msgspec import structs

from attendance.errors import UnreadableAnswer
from attendance.fleet import Device
from attendance.times import now
from producers.devices.common.bodies import read_json
from producers.devices.common.clocks import ASSUMED_LAG
from producers.devices.common.options import read_options
from producers.devices.contract import DeviceReport, Fetch, Page, Probed, Tools
from producers.devices.generic.rest.interface import Interface, Place, Start
from producers.devices.generic.rest.options import RestOptions
from producers.devices.generic.rest.progress import AHEAD, ByNumber, ByTime, Progress
from producers.devices.generic.rest.records import NAME, VERSION, RecordReader


class Rest:
    """The pull adapter."""

    name: Final = NAME
    version: Final = VERSION
    verified_on: Final = "simulator"
    options: Final = RestOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """What is new by the cursor, less its overlap. See `PullAdapter.fetch`."""
        interface = Interface(self._tools, wanted.source)
        options = interface.options
        reader = RecordReader(options, wanted, self._tools.payload_fields)
        progress: Progress = ByTime(wanted, options) if options.cursor.by == "time" else ByNumber(wanted, options)
        place: Place | None = Place(progress.start, options.paging.first)
        pages = 0
        while place is not None:
            pages += 1
            part = interface.read(await interface.ask(place), place)
            page, numbers = reader.read(part.records)
            fault = part.fault or progress.take(page.events, numbers)
            following = progress.following(place) if options.paging.by == "none" else part.following
            ends = following is None and fault is None and part.dead_end is None
            if ends and (start := progress.next_start()) is not None:
                following, pages = Place(start, options.paging.first), 0
            whole = ends and following is None
            claims = whole and options.complete and wanted.since is None
            yield structs.replace(
                page,
                cursor=progress.cursor(whole=whole) if fault is None else wanted.cursor or {},
                complete_until=wanted.now - ASSUMED_LAG if claims else None,
            )
            if fault is not None:
                raise UnreadableAnswer(f"{wanted.source.device_id}: {fault}")
            if part.dead_end is not None:
                raise part.dead_end
            if following is not None and pages >= options.paging.most:
                raise UnreadableAnswer(
                    f"{wanted.source.device_id}: there are more than {pages} pages, which are kept;"
                    " options.paging.most allows more"
                )
            place = following

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a record comes to today. See `PullAdapter.read_again`."""
        options = read_options(wanted.source, RestOptions)
        page, _ = RecordReader(options, wanted, self._tools.payload_fields).read([read_json(raw)])
        return page

    async def probe(self, source: Device) -> Probed:
        """Whether it answers as its entry says. It tells no serial number. See `PullAdapter.probe`."""
        interface = Interface(self._tools, source)
        place = Place(Start(now(), now() + AHEAD), interface.options.paging.first)
        part = interface.read(await interface.ask(place), place)
        if part.dead_end is not None:
            raise part.dead_end
        return Probed(None, DeviceReport())
