"""The user map on its topic: how it is read, and the records that make it what ERPNext's employees call for."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from attendance import user_map
from attendance.kafka.readers import read
from attendance.kafka.records import OutRecord
from attendance.records.user_map import EVERYWHERE, Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.user_map import UserMap
from producers.directory.employees import Person, holders

MapEntry = Employee | UserMapping

CHUNK: Final = 1000  # records whose acknowledgements are awaited together
FEW: Final = 10  # of so few entries, any number may go at once


async def read_user_map(kafka: KafkaSettings) -> UserMap:
    """The user map as its topic has it now.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    async with aclosing(read(kafka, kafka.topics["user_map"], kafka.client_id("users"))) as batches:
        return await user_map.read_user_map(batches, user_map.log_ignored)


async def send_records(send: Callable[..., Awaitable[object]], records: Sequence[OutRecord]) -> None:
    """Send the records in parts; return when Kafka has all of them.

    Args:
        send: Returns when Kafka has the records of one part. What it raises leaves the later parts unsent.
        records: In the order in which readers are to see them.
    """
    for first in range(0, len(records), CHUNK):
        await send(*records[first : first + CHUNK])


def wanted(people: Iterable[Person], rows: Iterable[UserMapping] = ()) -> dict[bytes, MapEntry]:
    """The entries that ERPNext calls for, by record key; every employee before any mapping.

    Args:
        people: Its employees. What a number is everywhere, they say.
        rows: The mappings of devices and sites. One of an employee who is not among the people is left out.
    """
    people = list(people)
    names = {person.name for person in people}
    entries: list[MapEntry] = [person.employee for person in people]
    for device_user_id, (first, *_) in holders(people).items():
        entries.append(UserMapping(EVERYWHERE, device_user_id, first.employee.name, "erpnext"))
    entries += [mapping for mapping in rows if mapping.employee in names]
    return {entry.key: entry for entry in entries}


def rows_known(current: UserMap) -> list[UserMapping]:
    """The mappings of devices and sites that the topic has of ERPNext."""
    return [each for each in current.mappings() if each.source == "erpnext" and each.scope != EVERYWHERE]


def differences(current: UserMap, target: Mapping[bytes, MapEntry], topic: str) -> list[OutRecord]:
    """The records that make ERPNext's part of the map equal to the target. What came from a CSV file stays.

    Args:
        current: The map as the topic has it.
        target: What ERPNext's employees call for, by record key (see `wanted`).
        topic: The full name of the user map topic.

    Returns:
        The records in an order in which no reader sees a mapping without its employee, if there was none before.
    """
    employees, mappings = _of_erpnext(current)
    known = mappings | employees
    return [
        *(OutRecord(topic, key, entry.encode()) for key, entry in target.items() if known.get(key) != entry),
        *(OutRecord(topic, key, None) for key in known if key not in target),
    ]


def part_removed(current: UserMap, target: Mapping[bytes, MapEntry]) -> float:
    """How much of ERPNext's part of the map would be removed.

    Args:
        current: The map as the topic has it.
        target: What ERPNext's employees call for, by record key (see `wanted`).

    Returns:
        From 0 to 1: the share of the employees or of the mappings, whichever is larger.
    """
    return max(
        sum(key not in target for key in known) / len(known) if len(known) >= FEW else 0.0
        for known in _of_erpnext(current)
    )


def _of_erpnext(current: UserMap) -> tuple[dict[bytes, MapEntry], dict[bytes, MapEntry]]:
    employees: dict[bytes, MapEntry] = {employee.key: employee for employee in current.employees()}
    mappings: dict[bytes, MapEntry] = {entry.key: entry for entry in current.mappings() if entry.source == "erpnext"}
    return employees, mappings
