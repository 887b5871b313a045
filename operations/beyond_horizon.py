"""What ERPNext says of punches that are beyond the horizon: it has them, has what they repeat, or has nothing near."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, ErpnextClient
from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import RawEvent
from operations.dead_letter_actions import Plan
from operations.dead_letters import begin_at, read_letters
from operations.log import Log, Skipped
from operations.users import read_user_map
from sinks.targets.erpnext.documents import to_document
from streams.mapping import assign

AT_ONCE: Final = 500  # event_ids in one request
THERE: Final = "ERPNext has this punch"
REPEATED: Final = "ERPNext has the punch that this one repeats"
NOBODY: Final = "its device user has no employee who may check in, so ERPNext cannot be asked"


class _Undecided(NamedTuple):
    """A punch of a letter, and what would be stored of it."""

    letter: LetterId
    event: RawEvent
    checkin: Checkin


class UndecidedPunches:
    """The planned letters of punches that are beyond the horizon. Memory is bounded by those."""

    def __init__(self, log: Log, plan: Plan, device: Callable[[str], Device | None]) -> None:
        """Nothing is read yet.

        Args:
            log: Where the letters are.
            plan: What is to be replayed. What ERPNext decides, or cannot decide, is taken out of it.
            device: Finds a device of the fleet.
        """
        self._log = log
        self._plan = plan
        self._device = device
        self._undecided: list[_Undecided] = []
        self.discards: dict[LetterId, str] = {}
        """What need not be replayed, with the note that says why."""

    async def read(self) -> None:
        """Read the letters. If nobody knows whose punch one has, it is refused.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        wanted = set(self._plan.ids)
        if not wanted:
            return
        users = await read_user_map(self._log, Skipped())
        async with aclosing(read_letters(self._log, Skipped(), begin_at(wanted))) as letters:
            async for letter in letters:
                if letter.id not in wanted or letter.content.reason is not Reason.BEYOND_HORIZON:
                    continue
                event = RawEvent.decode(letter.content.value)
                outcome = assign(event, users, self._device(event.device_id))
                if isinstance(outcome, Checkin):
                    self._undecided.append(_Undecided(letter.id, event, outcome))
                else:
                    self._plan.refused[letter.id] = NOBODY
        self._take_out()

    def compare(self, client: ErpnextClient, site_zone: str, window: float) -> None:
        """Look for the punches in ERPNext, and for what they may repeat.

        Args:
            client: The site.
            site_zone: In which it keeps its times.
            window: Seconds: `PUNCH_WINDOW`.

        Raises:
            ConfigurationError: the site's documents have no `event_id` to find them by.
            PunchstreamError: what `ErpnextClient.call` raises.
        """
        if not client.has_event_id_field():
            raise ConfigurationError("Employee Checkin has no field event_id; `punchstream erpnext setup` makes it")
        there = set(self._there(client))
        for each in self._undecided:
            if each.event.event_id in there:
                self.discards[each.letter] = THERE
            else:
                self._look_near(each, client, site_zone, timedelta(seconds=window))
        self._take_out()

    def _there(self, client: ErpnextClient) -> Iterator[str]:
        ids = [each.event.event_id for each in self._undecided]
        for start in range(0, len(ids), AT_ONCE):
            part: Sequence[str] = ids[start : start + AT_ONCE]
            rows = client.get_list(CHECKIN, [EVENT_ID_FIELD], [(EVENT_ID_FIELD, "in", part)])
            yield from (row[EVENT_ID_FIELD] for row in rows)

    def _look_near(self, undecided: _Undecided, client: ErpnextClient, site_zone: str, window: timedelta) -> None:
        try:
            document = to_document(undecided.checkin, site_zone, event_id=False)
        except InvalidRecord as error:
            self._plan.refused[undecided.letter] = error.message
            return
        time = datetime.fromisoformat(document["time"])
        first, last = (each.isoformat(sep=" ", timespec="seconds") for each in (time - window, time + window))
        filters = [("employee", "=", undecided.checkin.employee), ("time", ">=", first), ("time", "<=", last)]
        for row in client.get_list(CHECKIN, ["name", "device_id", "log_type"], filters):
            if row["device_id"] not in (None, "", undecided.checkin.device_id):
                continue
            device = self._device(undecided.event.device_id)
            as_the_device_says = device is None or device.direction == "from_device"
            if not as_the_device_says or not row["device_id"]:
                # What the device said of that one is not known.
                self._plan.refused[undecided.letter] = (
                    f"ERPNext has {row['name']} near it; replay or discard the letter by ID"
                )
            elif not row["log_type"] or not undecided.checkin.log_type or row["log_type"] == undecided.checkin.log_type:
                self.discards[undecided.letter] = f"{REPEATED}: {row['name']}"
                return

    def _take_out(self) -> None:
        self._plan.ids = [id_ for id_ in self._plan.ids if id_ not in self._plan.refused and id_ not in self.discards]
