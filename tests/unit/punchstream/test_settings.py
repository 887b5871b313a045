"""What `punchstream settings` and the page of settings say of a value."""

from pathlib import Path

import pytest

from attendance.settings import StreamSettings
from punchstream.commands.settings import describe, every_group, markdown


def test_a_default_that_is_a_duration_is_written_with_its_unit() -> None:
    page = markdown(every_group())

    assert "| `DEDUP_HORIZON` | `90 days` |" in page
    assert "| `KAFKA_RETENTION_DAYS` | `400 days` |" in page
    assert "| `PUSH_PORT` | `8080` |" in page


def test_what_a_target_has_to_be_told_is_on_the_page_of_settings() -> None:
    assert "| `SINK_JSONL_PATH` | `checkins.jsonl` |" in markdown(every_group())


@pytest.mark.parametrize(("with_units", "shown"), [(False, "90"), (True, "90 s")])
def test_programs_get_the_number_of_a_duration_and_people_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_units: bool, shown: str
) -> None:
    monkeypatch.setenv("PUNCH_WINDOW", "90 s")

    rows = describe((StreamSettings,), tmp_path / ".env", with_units=with_units)

    assert next(row["value"] for row in rows if row["setting"] == "PUNCH_WINDOW") == shown
