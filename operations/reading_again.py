"""What no adapter understood, given once more to the adapter that its device has today.

A later release may understand it, or the fleet file may say more than it did. Then the adapter's own function makes of
it what it would have made of it at once, with the time of arrival that it had: so an event has the id that it would
have had.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import urlencode

import httpx
from starlette.routing import compile_path

from attendance.errors import ConfigurationError, PunchstreamError, Reason
from attendance.fleet import Device
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest
from attendance.registry import Registry
from attendance.settings import PushSettings
from producers.clocks import Clocks
from producers.devices import PULL_ADAPTERS, PUSH_ADAPTERS, check_entry, create_file_adapter, create_push_adapter
from producers.devices.common.bodies import read_query
from producers.devices.common.options import read_options
from producers.devices.contract import (
    Adapter,
    DeviceReport,
    Fetch,
    Head,
    Other,
    PushAdapter,
    PushRequest,
    Rejected,
    Route,
    Tools,
)
from producers.intake import Batch, Intake, Place, Records
from producers.pull.sources import Adapters, secret

STAGES: Final = {"push": "push", "pull": "pull", "sql": "pull", "file": "import"}
"""The stage that rejects what came by a transport."""


_Found = tuple[Batch, Device, Adapter, Callable[[Rejected], Place]]
"""What an adapter made of a request, of which device, the adapter, and where what it rejected stands."""


class NotUnderstood(PunchstreamError):
    """Today's adapter makes nothing of a request either; the message says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What today's adapter makes of a request: what is to be published, and what it still rejects."""

    records: Records
    rejected: Sequence[Rejected]

    def __str__(self) -> str:
        """Such as `2 events, 1 other event`."""
        counts = {
            "event": len(self.records.events),
            "other event": len(self.records.other_events),
            "rejected record": len(self.rejected),
        }
        found = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
        return ", ".join(found) or "nothing that is kept"


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of a file, as a batch."""

    events: Sequence[RawEvent]
    rejected: Sequence[Rejected]
    others: Sequence[Other] = ()
    report: DeviceReport | None = None


class Reader:
    """Gives what was not understood to the adapters of today's fleet.

    Args:
        registry: The fleet.
        payload_fields: The vendor's fields that events keep beside an adapter's own list.
    """

    def __init__(self, registry: Registry, payload_fields: Collection[str]) -> None:
        self._registry = registry
        self._payload_fields = payload_fields
        self._push_adapters: dict[str, PushAdapter] = {}

    def read(self, request: UnreadRequest) -> Reading:
        """What the adapter makes of a request today.

        Args:
            request: All of it.

        Raises:
            NotUnderstood: nothing, it is still sealed, or there is no such device or adapter any more.
        """
        if request.sealed:
            raise NotUnderstood(request.message)
        devices = self._devices(request)
        try:
            if request.transport == "push":
                batch, device, adapter, where = self._pushed(request, devices)
            elif request.transport == "file":
                batch, device, adapter, where = self._row(request, devices)
            else:
                batch, device, adapter, where = self._pulled(request, devices)
        except NotUnderstood:
            raise
        except PunchstreamError as error:
            raise NotUnderstood(str(error)) from error
        except Exception as error:
            raise NotUnderstood(f"an adapter fails on it: {error!r}") from error
        if batch.rejected and not batch.events and not batch.others:
            raise NotUnderstood(batch.rejected[0].message)
        # Clocks of its own: what a device said of its time counts for the events beside it, and for no others.
        intake = Intake(STAGES[request.transport], Clocks(Metrics()))
        records = intake.to_records(batch, device, adapter, request.received_at, where, request)
        return Reading(records, batch.rejected)

    def _devices(self, request: UnreadRequest) -> Mapping[str, Device]:
        """The entries of today that the sender may have spoken for, also those that are disabled since."""
        named = dict.fromkeys((request.device_id, *request.devices))
        devices: Mapping[str, Device]
        devices = {name: device for name in named if (device := self._registry.get(name)) is not None}
        if not devices and not request.device_id:
            devices = self._sharing_a_token(request)
        if not devices:
            raise NotUnderstood(f"{request.device_id} is not in the fleet file")
        return devices

    def _sharing_a_token(self, request: UnreadRequest) -> Mapping[str, Device]:
        """The devices of the one token that stands for several: only of such a sender an old letter has no device."""
        groups: dict[str, dict[str, Device]] = defaultdict(dict)
        for device in self._registry:
            if device.token_sha256 is None or device.adapter not in PUSH_ADAPTERS:
                continue
            if any(route.path == request.route for route in self._push_adapter(device.adapter).routes):
                groups[device.token_sha256][device.device_id] = device
        shared = [group for group in groups.values() if len(group) > 1]
        if len(shared) != 1:
            raise NotUnderstood(f"who sent it was not kept, and {len(shared)} tokens stand for several devices")
        return shared[0]

    def _push_adapter(self, name: str) -> PushAdapter:
        if name not in PUSH_ADAPTERS:
            raise NotUnderstood(f"adapter {name} takes nothing that is sent")
        if name not in self._push_adapters:
            self._push_adapters[name] = create_push_adapter(name, self._payload_fields)
        return self._push_adapters[name]

    @cached_property
    def _pull_adapters(self) -> Adapters:
        # Asks nobody: reading again has the bytes already.
        return Adapters(Tools(httpx.AsyncClient(), secret, self._payload_fields))

    def _pushed(self, request: UnreadRequest, devices: Mapping[str, Device]) -> _Found:
        """What a request comes to."""
        name = next(iter(devices.values())).adapter
        adapter = self._push_adapter(name)
        ours = {each: device for each, device in devices.items() if device.adapter == name}
        for device in ours.values():
            check_entry("push", device)
        route, params = _route(adapter, request)
        head = Head(route.method, route.path, params, read_query(request.query), request.headers)
        # It was kept though it was too large: there is nobody left who could send it in parts.
        parsed = adapter.parse(PushRequest(head, request.body, request.received_at, most=sys.maxsize), ours)
        return (
            parsed,
            ours[parsed.device_id],
            adapter,
            lambda each: Place(f"events[{each.index}]", f"http:{route.path}"),
        )

    def _pulled(self, request: UnreadRequest, devices: Mapping[str, Device]) -> _Found:
        """What a record of a page comes to."""
        source = devices[request.device_id]
        if source.adapter not in PULL_ADAPTERS:
            raise NotUnderstood(f"adapter {source.adapter} asks no device")
        wanted = Fetch(source, self._terminals(source), None, None, request.received_at)
        adapter = self._pull_adapters.of(source)
        page = adapter.read_again(request.body, wanted)
        return page, source, adapter, lambda each: Place(f"record {each.index} of a page", f"pull:{source.adapter}")

    def _row(self, request: UnreadRequest, devices: Mapping[str, Device]) -> _Found:
        """What a row of a file comes to."""
        device = devices[request.device_id]
        # Those of an entry that is pushed or pulled are another adapter's. What the fleet file says today counts.
        today = device.options if device.mode == "file" else {}
        device = device.model_copy(update={"options": {**request.options, **today}})
        adapter = create_file_adapter(request.adapter, self._payload_fields)
        read_options(device, adapter.options)
        rows = adapter.read_again(request.body, device, self._terminals(device), request.received_at)
        outcomes = [row.outcome for row in rows]
        batch = _Batch(
            [each for each in outcomes if isinstance(each, RawEvent)],
            [each for each in outcomes if isinstance(each, Rejected)],
        )
        return batch, device, adapter, lambda each: Place(f"line {each.index + 1}", request.place)

    def _terminals(self, source: Device) -> Mapping[str, Device]:
        """The entries whose records a source or a file holds, by serial number."""
        terminals = {each.serial: each for each in self._registry if each.via == source.device_id and each.serial}
        return terminals if source.serial is None else {**terminals, source.serial: source}


class Fleet:
    """The fleet, which is read when something is to be read again."""

    def __init__(self, read: Callable[[], Registry]) -> None:
        """Nothing is read yet.

        Args:
            read: Reads the fleet. Raises `ConfigurationError` where it is not known.
        """
        self._read = read
        self.problem: str | None = None
        """Why the fleet is not known, where that was found."""

    def read(self, request: UnreadRequest) -> Reading:
        """See `Reader.read`. Where the fleet is not known, nothing is understood."""
        try:
            return self._reader.read(request)
        except ConfigurationError as error:
            self.problem = str(error)
            raise NotUnderstood(self.problem) from error

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._read(), PushSettings.load().payload_fields)


def _route(adapter: PushAdapter, request: UnreadRequest) -> tuple[Route, Mapping[str, str]]:
    """Today's route for the path, or the one by which it came: a path may be spelled in ways that no route has."""
    routes = [route for route in adapter.routes if route.method == request.method]
    for route in routes:
        if (match := compile_path(route.path)[0].match(request.path)) is not None:
            return route, match.groupdict()
    for route in routes:
        if route.path == request.route:
            return route, request.params
    raise NotUnderstood(f"{adapter.name} has no {request.method} {request.path}")


def holds_request(letter: DeadLetter) -> bool:
    """Whether a letter is about what an adapter did not understand, and names or holds that."""
    return letter.unread is not None or old_request(letter) is not None


def old_request(letter: DeadLetter) -> UnreadRequest | None:
    """The request that a letter of an earlier release holds, as far as that was kept: its body, and by which route.

    Args:
        letter: Any dead letter.

    Returns:
        The request, without its headers, and of its query only the table of a ZKTeco terminal, which the message has.
        None where the letter holds none, or names an unread request.
    """
    found = re.fullmatch(r"http:(/.*)", letter.where or "")
    whole = letter.reason in (Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR)
    if letter.unread is not None or letter.topic is not None or found is None or not whole or not letter.value:
        return None
    table = re.match(r"table '([^']*)' is none of the protocol's", letter.message)
    return UnreadRequest(
        unread_id="",
        device_id=(letter.key or b"").decode(errors="replace"),
        site="",
        adapter="",
        adapter_version="",
        transport="push",
        received_at=letter.at,
        reason=letter.reason,
        message=letter.message,
        body=letter.value,
        method="POST",
        path=found[1],
        route=found[1],
        query="" if table is None else urlencode({"table": table[1]}),
    )
