"""What Punchstream knows of the devices of ERPNext's desk, written back into their live fields."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

import structlog

from attendance.erpnext import ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, RetriableError
from attendance.guards import Guards
from attendance.kafka.records import Record
from attendance.records.cursor import SavedCursor
from attendance.records.device_status import DeviceStatus
from attendance.settings import DirectorySettings, ErpnextSettings
from attendance.wire import encode_json
from operations.desk_fleet import DEVICE
from operations.device_statuses import newest_statuses
from operations.log import Log, Skipped, decoded
from producers.directory.desk import is_installed

log = structlog.get_logger(__name__)

WRITE_LIVE: Final = "/api/method/biometric_integration.sync.write_live"
MOST: Final = 500  # devices that the app takes in one request
LONGEST: Final = 140  # characters that a field of the desk has
SLOWLY: Final = 12  # intervals between two looks for the app, and between two tries that a person has to help

Live = Mapping[str, str | None]
"""The live fields of a device as the app takes them: times in ISO 8601, None where nothing is known."""


def live_fields(status: DeviceStatus | None, cursor: SavedCursor | None) -> Live:
    """The live fields of a device.

    Args:
        status: What it last said of itself; None where it said nothing.
        cursor: Up to where it was asked; None where it was not.
    """
    times = [each for each in (status and status.heard_at, cursor and cursor.at) if each]
    skew = None if status is None or status.clock_skew is None else f"{status.clock_skew:+d} s"
    pending = None if status is None or status.pending is None else str(status.pending)
    return {
        "last_sync_at": max(times).isoformat() if times else None,
        "last_heard_at": status.heard_at.isoformat() if status else None,
        "last_cursor": _shortened(encode_json(cursor.cursor).decode()) if cursor else None,
        "clock": skew,
        "backlog": pending,
    }


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


async def newest_cursors(topics: Log, skipped: Skipped) -> dict[str, SavedCursor]:
    """Up to where each device was asked, by device_id.

    Args:
        topics: The cursors among them.
        skipped: Where the records are counted that are no cursor.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    newest: dict[str, SavedCursor] = {}
    async for batch in topics.read("cursors"):
        for record in batch:
            newest.pop((record.key or b"").decode(errors="replace"), None)
            there: Iterable[Record] = () if record.value is None else (record,)
            for _, cursor in decoded(there, lambda each: SavedCursor.decode(each.value), skipped):
                newest[cursor.device_id] = cursor
    return newest


class DeskLive:
    """Writes live fields that have changed, at most once each `DIRECTORY_LIVE_INTERVAL`."""

    def __init__(self, site: ErpnextClient, topics: Log, settings: DirectorySettings) -> None:
        """Nothing is written yet.

        Args:
            site: The ERPNext.
            topics: Device statuses and cursors among them.
            settings: How often to write.
        """
        self._site = site
        self._topics = topics
        self._interval = settings.live_interval
        self._written: dict[str, Live] = {}

    async def keep(self, guards: Guards) -> NoReturn:
        """Write for ever, while no guard stands."""
        await guards.repeat(self.run_once)

    async def run_once(self) -> float:
        """Write what has changed since the last time. What fails is logged, and tried again the next time.

        Returns:
            The seconds until then.
        """
        try:
            if not await asyncio.to_thread(is_installed, self._site):
                return SLOWLY * self._interval
            await self._write()
        except RetriableError as error:
            log.warning("Could not write what devices last said into ERPNext; trying again.", error=str(error))
        except (AccessDenied, DocumentRejected) as error:
            log.error(
                "ERPNext does not take what devices last said. Give the API user the role Biometric Sync.",
                error=str(error),
            )
            return SLOWLY * self._interval
        return self._interval

    async def _write(self) -> None:
        rows = await asyncio.to_thread(self._site.get_list, DEVICE, ["name"])
        skipped = Skipped()
        statuses = await newest_statuses(self._topics, skipped)
        cursors = await newest_cursors(self._topics, skipped)
        names = [str(row["name"]) for row in rows]
        live = {name: live_fields(statuses.get(name), cursors.get(name)) for name in names}
        # A device that is made anew under the name of one that is gone knows nothing of it.
        self._written = {name: fields for name, fields in self._written.items() if name in live}
        changed = [name for name in names if live[name] != self._written.get(name)]
        for begin in range(0, len(changed), MOST):
            part = changed[begin : begin + MOST]
            devices = [{"device_id": name, **live[name]} for name in part]
            await asyncio.to_thread(self._site.call, "POST", WRITE_LIVE, {"devices": devices})
            self._written |= {name: live[name] for name in part}


async def keep_desk_live(
    erpnext: ErpnextSettings, topics: Log, settings: DirectorySettings, guards: Guards
) -> NoReturn:
    """Keep the live fields of the desk's devices up to date, while no guard stands.

    Args:
        erpnext: The site, and the API user who has the role Biometric Sync.
        topics: Device statuses and cursors among them.
        settings: How often to write.
        guards: Say when this process may not work.
    """
    client = ErpnextClient(erpnext)
    try:
        await DeskLive(client, topics, settings).keep(guards)
    finally:
        client.close()
