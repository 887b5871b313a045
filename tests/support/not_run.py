"""What a test does for which a part of the machine is missing."""

import os
from typing import NoReturn

import pytest


def not_run(reason: str, part: str) -> NoReturn:
    """End a test for which a part is missing: skipped, or failed where the part has to be there.

    Args:
        reason: What is missing, in a line.
        part: By which `PUNCHSTREAM_REQUIRE_...` says that it has to be there.
    """
    if os.environ.get(f"PUNCHSTREAM_REQUIRE_{part}") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
