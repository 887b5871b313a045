"""What `punchstream settings` and the page of settings say of a value."""

from pathlib import Path

import pytest

from attendance.settings import GROUPS, StreamSettings
from punchstream.commands.settings import describe, markdown


def test_a_default_that_is_a_duration_is_written_with_its_unit() -> None:
    page = markdown(GROUPS)

    assert "| `DEDUP_HORIZON` | `90 days` |" in page
    assert "| `KAFKA_RETENTION_DAYS` | `400 days` |" in page
    assert "| `PUSH_PORT` | `8080` |" in page


@pytest.mark.parametrize(("with_units", "shown"), [(False, "90"), (True, "90 s")])
def test_programs_get_the_number_of_a_duration_and_people_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_units: bool, shown: str
) -> None:
    monkeypatch.setenv("PUNCH_WINDOW", "90 s")

    rows = describe((StreamSettings,), tmp_path / ".env", with_units=with_units)

    assert next(row["value"] for row in rows if row["setting"] == "PUNCH_WINDOW") == shown
