"""What the devices of the registry last said of themselves."""

from collections.abc import Iterable
from typing import Any

from attendance.device_status import DeviceStatus
from attendance.kafka import snapshot
from attendance.registry import Device
from attendance.settings import KafkaSettings
from attendance.times import format_seconds


async def statuses(kafka: KafkaSettings, fleet: Iterable[Device]) -> list[dict[str, Any]]:
    """A row for each device, with what its newest status says; nothing where it was never heard.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
        InvalidRecord: something else than Punchstream wrote to the topic.
    """
    records = await snapshot(kafka, kafka.topics["device_status"], f"{kafka.topic_prefix}-devices")
    newest = {
        status.device_id: status for record in records if record.value for status in [DeviceStatus.decode(record.value)]
    }
    return [_row(device, newest.get(device.device_id)) for device in fleet]


def _row(device: Device, status: DeviceStatus | None) -> dict[str, Any]:
    until = status.complete_until if status else None
    return {
        "device_id": device.device_id,
        "site": device.site,
        "disabled": device.disabled,
        "heard_at": format_seconds(status.heard_at) if status else None,
        "pending": status.pending if status else None,
        "complete_until": format_seconds(until) if until else None,
    }
