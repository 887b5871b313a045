"""Names of hosts that a browser or a provider may have."""

from typing import Final

LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
"""Those of the machine itself."""
