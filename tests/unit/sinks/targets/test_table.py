import subprocess
import sys
from pathlib import Path

import pytest

import sinks.targets
from attendance.errors import ConfigurationError
from attendance.settings import SinkSettings
from sinks.targets import TARGETS, create_target, target_settings


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_made_by_its_name_and_bears_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERPNEXT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ERPNEXT_API_KEY", "key")
    monkeypatch.setenv("ERPNEXT_API_SECRET", "secret")
    assert create_target(SinkSettings(target=name)).name == name


def test_a_target_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match="SINK_TARGET: 'sap' is none of erpnext, jsonl"):
        create_target(SinkSettings(target="sap"))


def test_a_missing_setting_of_the_target_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERPNEXT_URL", raising=False)
    with pytest.raises(ConfigurationError, match="ERPNEXT_URL"):
        create_target(SinkSettings(target="erpnext"))


def test_a_target_is_imported_only_when_it_is_chosen() -> None:
    modules = ("sinks.targets.erpnext.target", "sinks.targets.jsonl")
    code = f"import sys, sinks.targets; sys.exit(any(name in sys.modules for name in {modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_module_and_a_line_in_the_table_make_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "printing_target.py").write_text(
        "from attendance.settings import SettingsGroup\n"
        "class Settings(SettingsGroup):\n"
        "    model_config = {'env_prefix': 'SINK_PRINTING_'}\n"
        "    paper: str = 'A4'\n"
        "def create(settings):\n"
        "    return f'prints {settings.batch} on {Settings.load().paper}'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sinks.targets, "TARGETS", {**TARGETS, "printing": "printing_target"})
    monkeypatch.setenv("SINK_PRINTING_PAPER", "A3")
    assert str(create_target(SinkSettings(target="printing", batch=7))) == "prints 7 on A3"
    assert "SINK_PRINTING_" in [group.model_config.get("env_prefix") for group in target_settings()]
