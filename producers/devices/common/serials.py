"""The one rule by which a device is known by its serial number."""

from typing import Final

_SHORTEST_LABEL: Final = 4
"""Characters: a shorter number is the end of too many others."""


def is_serial_of_entry(reported: str, in_entry: str) -> bool:
    """Whether a device that reports this serial number is the one of the entry.

    An entry may have it as on the label, which is the end of what some devices report. Capitals do not matter.

    Args:
        reported: What the device says.
        in_entry: What the fleet file says.
    """
    reported, in_entry = (each.strip().upper() for each in (reported, in_entry))
    return reported == in_entry or (len(in_entry) >= _SHORTEST_LABEL and reported.endswith(in_entry))
