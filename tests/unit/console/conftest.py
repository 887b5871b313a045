"""A console over a short story."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_site import ConsoleSite, story


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ConsoleSite]:
    console = ConsoleSite(tmp_path, story())
    yield console
    console.database.close()
