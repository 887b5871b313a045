"""The one rule by which a device is known by its serial number."""


def is_serial_of_entry(reported: str, in_entry: str) -> bool:
    """Whether a device that reports this serial number is the one of the entry.

    An entry may have it as on the label, which is the end of what some devices report.

    Args:
        reported: What the device says.
        in_entry: What the fleet file says.
    """
    return reported.endswith(in_entry)
