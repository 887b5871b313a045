"""What adapters assume of the clocks of devices."""

from datetime import UTC, datetime, timedelta
from typing import Final

LOST_CLOCK: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""A punch dated earlier was made after a device had lost its clock. Such a punch can come at any time."""

ASSUMED_LAG: Final = timedelta(minutes=5)
"""How far behind the clock may be of a device that does not report its time."""

MAX_ZONE_DIFFERENCE: Final = timedelta(hours=26)
"""How far two wall clocks can differ at the same instant."""
