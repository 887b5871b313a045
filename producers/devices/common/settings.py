"""Settings of a device that are compared with what they should be, and changed when a person says so."""

from collections.abc import Collection, Sequence
from typing import Final, Protocol, runtime_checkable

from msgspec import Struct

from attendance.fleet import Device

DIFFERS: Final = "differs"
"""How a detail of a device's status begins that a person has to look at."""


class Setting(Struct, frozen=True):
    """One setting: what the device has and what it should have, in words that hold no secret.

    `differs` is None where the device does not say what it has.
    """

    name: str
    has: str
    wanted: str
    differs: bool | None


@runtime_checkable
class Configurable(Protocol):
    """A pull adapter that can compare the settings of a device, and change them."""

    async def settings(self, source: Device) -> Sequence[Setting]:
        """What the device has, changing nothing. Raises what `PullAdapter.fetch` raises."""

    async def configure(self, source: Device, names: Collection[str]) -> Sequence[Setting]:
        """Change the settings of these names that differ, no others, and say what the device has then.

        Args:
            source: The entry of the device.
            names: Those of which somebody has seen the difference.

        Raises:
            DeviceUnavailable, DeviceRefused, UnreadableAnswer: as `PullAdapter.fetch` tells them apart. Some may have
                been changed.
        """


def summary(settings: Sequence[Setting]) -> str:
    """What differs, in one line for a device's status.

    Args:
        settings: All that were compared.
    """
    differ = [f"{each.name} is {each.has}, wanted {each.wanted}" for each in settings if each.differs]
    return f"{DIFFERS}: {'; '.join(differ)}" if differ else "as wanted"
