import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from attendance.erpnext import ErpnextClient
from attendance.kafka.readers import snapshot
from attendance.metrics import Metrics
from attendance.records.user_map import EVERYWHERE, Employee
from attendance.settings import DirectorySettings, ErpnextSettings, KafkaSettings
from attendance.user_map import UserMap
from producers.directory.csv_files import ImportResult, import_csv
from producers.directory.sync import run
from producers.directory.user_map import read_user_map
from sandbox.erpnext.app import create_app
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN
from sandbox.ports import free_port

pytestmark = pytest.mark.broker

DEADLINE = 30.0


class StandIn:
    """The ERPNext stand-in on a port of its own, down until it is started."""

    def __init__(self) -> None:
        self.port = free_port()
        self.settings = ErpnextSettings.load(
            url=f"http://127.0.0.1:{self.port}", api_key=ADMIN.api_key, api_secret=ADMIN.api_secret, timeout=10
        )
        self.client = ErpnextClient(self.settings)
        config = uvicorn.Config(create_app(Site()), host="127.0.0.1", port=self.port, log_config=None, ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()

    def employ(self, first_name: str, device_user_id: str, **fields: Any) -> str:
        document = {"doctype": "Employee", "first_name": first_name, "attendance_device_id": device_user_id} | fields
        return self.client.insert(document)

    def change(self, employee: str, **fields: Any) -> None:
        self.client.call("PUT", f"/api/resource/Employee/{employee}", fields)

    def delete(self, employee: str) -> None:
        self.client.call("DELETE", f"/api/resource/Employee/{employee}")


@pytest.fixture
def erpnext() -> Iterator[StandIn]:
    stand_in = StandIn()
    stand_in.start()
    yield stand_in
    stand_in.stop()


def keep(
    kafka: KafkaSettings, erpnext: StandIn, scenario: Callable[[], Awaitable[None]], *, full_interval: float = 3600
) -> None:
    """Play the scenario while the directory runs, which looks for changes every 0.2 s, and stop it."""

    async def play() -> None:
        stop = asyncio.Event()
        directory = DirectorySettings.load(interval=0.2, full_interval=full_interval)
        running = asyncio.create_task(run(kafka, erpnext.settings, directory, Metrics(), stop))
        try:
            await scenario()
        finally:
            stop.set()
            await asyncio.wait_for(running, DEADLINE)

    asyncio.run(play())


def users_of(users: UserMap) -> dict[str, str]:
    """Who each user is where no site or device has a mapping of its own."""
    ids = {mapping.device_user_id for mapping in users.mappings()}
    found = {user: users.in_scope(EVERYWHERE, user) for user in ids}
    return {user: mapping.employee for user, mapping in found.items() if mapping}


async def until(kafka: KafkaSettings, expected: dict[str, str]) -> UserMap:
    """Return the map once the topic has these users."""
    deadline = time.monotonic() + DEADLINE
    while users_of(users := await read_user_map(kafka)) != expected:
        assert time.monotonic() < deadline, f"still {users_of(users)}, not {expected}"
        await asyncio.sleep(0.1)
    return users


def test_the_topic_follows_what_happens_to_employees(kafka: KafkaSettings, erpnext: StandIn) -> None:
    first, second, third = (erpnext.employ(name, f"00{number}") for number, name in enumerate("ABC"))

    async def scenario() -> None:
        users = await until(kafka, {"000": first, "001": second, "002": third})
        known = users.employee(first)
        assert known is not None
        assert known == Employee(first, "Active", company="Acme Works", created=known.created)

        await asyncio.to_thread(erpnext.change, second, attendance_device_id="77")
        fourth = await asyncio.to_thread(erpnext.employ, "D", "001")
        await until(kafka, {"000": first, "77": second, "002": third, "001": fourth})

        await asyncio.to_thread(erpnext.change, first, status="Left", relieving_date="2026-01-31")
        await asyncio.to_thread(erpnext.change, third, attendance_device_id=None)
        users = await until(kafka, {"000": first, "77": second, "001": fourth})
        left = users.employee(first)
        assert left is not None
        assert (left.status, str(left.relieving_date)) == ("Left", "2026-01-31")

    keep(kafka, erpnext, scenario)


def test_a_deleted_employee_leaves_the_topic_at_the_next_look(kafka: KafkaSettings, erpnext: StandIn) -> None:
    first, second = erpnext.employ("A", "1"), erpnext.employ("B", "2")

    async def scenario() -> None:
        await until(kafka, {"1": first, "2": second})
        await asyncio.to_thread(erpnext.delete, first)
        users = await until(kafka, {"2": second})
        assert users.employee(first) is None

    keep(kafka, erpnext, scenario)


def test_a_restart_with_nothing_new_writes_nothing(kafka: KafkaSettings, erpnext: StandIn) -> None:
    everyone = {str(number): erpnext.employ(f"E{number}", str(number)) for number in range(5)}

    async def settled() -> None:
        await until(kafka, everyone)

    async def watched() -> None:
        last = await asyncio.to_thread(erpnext.employ, "last", "99")
        await until(kafka, everyone | {"99": last})

    keep(kafka, erpnext, settled)
    keep(kafka, erpnext, watched)
    records = asyncio.run(snapshot(kafka, kafka.topics["user_map"], "test"))
    assert len(records) == 2 * 6


def test_a_directory_that_is_there_before_erpnext_waits_for_it(kafka: KafkaSettings) -> None:
    stand_in = StandIn()

    async def scenario() -> None:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(stand_in.start)
        first = await asyncio.to_thread(stand_in.employ, "A", "1")
        await until(kafka, {"1": first})

    try:
        keep(kafka, stand_in, scenario)
    finally:
        stand_in.stop()


def test_a_csv_file_counts_before_erpnext_until_its_mapping_is_replaced(
    kafka: KafkaSettings, erpnext: StandIn, tmp_path: Path
) -> None:
    first, second = erpnext.employ("A", "1"), erpnext.employ("B", "2")
    file = tmp_path / "users.csv"

    async def scenario() -> None:
        await until(kafka, {"1": first, "2": second})
        file.write_text(f"device_user_id,employee,site\n1,{second},\n9,{first},riyadh\n8,NOBODY,\n")
        assert await import_csv(kafka, file) == ImportResult(3, 0, 0, ("NOBODY",))
        users = await until(kafka, {"1": second, "2": second, "8": "NOBODY"})
        nine = users.mapping("riyadh", "gate-1", "9")
        assert nine is not None
        assert nine.employee == first

        assert await import_csv(kafka, file) == ImportResult(0, 3, 0, ("NOBODY",))
        file.write_text(f"device_user_id,employee,site\n9,{first},riyadh\n")
        assert await import_csv(kafka, file, replace=True) == ImportResult(0, 1, 2, ())
        await until(kafka, {"1": first, "2": second})

    keep(kafka, erpnext, scenario, full_interval=0.5)
