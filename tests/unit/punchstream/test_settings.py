"""What `punchstream settings` and the page of settings say of a value."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from attendance.settings import StreamSettings
from punchstream.cli import app
from punchstream.commands.settings import describe, every_group, markdown, misspelt


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


def test_a_misspelt_name_is_named_with_what_it_may_mean_and_what_belongs_to_others_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("KAFKA_BOOTSTRAP_SERVER=x\nKAFKA_COLOUR=red\nRIYADH_01_PASSWORD=x\nKAFKA_PARTITIONS=12\n")
    monkeypatch.setenv("PUNCHSTREAM_DEVICE", "devices.yaml")
    monkeypatch.setenv("KAFKA_SERVICE_HOST", "of Kubernetes")

    assert misspelt(env_file) == {
        "KAFKA_BOOTSTRAP_SERVER": "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_COLOUR": None,
        "PUNCHSTREAM_DEVICE": "PUNCHSTREAM_DEVICES",
    }


def test_the_command_fails_where_a_value_is_wrong_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["settings"]).exit_code == 0
    monkeypatch.setenv("PUSH_PORT", "abc")
    result = CliRunner().invoke(app, ["settings", "--json"])
    assert result.exit_code == 1
    assert "PUSH_PORT: Input should be a valid integer" in result.stderr
