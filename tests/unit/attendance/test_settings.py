"""Settings: from the environment, each with a meaning, and a wrong one named."""

from pathlib import Path

import pytest

from attendance.errors import ConfigurationError
from attendance.settings import (
    CommonSettings,
    ErpnextSettings,
    KafkaSettings,
    PullSettings,
    PushSettings,
    StreamSettings,
)
from punchstream.commands.settings import every_group


def names(group: type) -> list[str]:
    prefix = group.model_config.get("env_prefix", "")
    return [f"{prefix}{field}".upper() for field in group.model_fields]


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for group in every_group():
        for name in names(group):
            monkeypatch.delenv(name, raising=False)


def test_every_setting_says_what_it_means() -> None:
    for group in every_group():
        for name, field in group.model_fields.items():
            assert field.description, f"{group.__name__}.{name}"
            assert field.description.endswith("."), f"{group.__name__}.{name}"


def test_no_two_groups_have_a_setting_of_the_same_name() -> None:
    everything = [name for group in every_group() for name in names(group)]
    assert len(set(everything)) == len(everything)


def test_all_but_the_erpnext_site_have_a_default() -> None:
    for group in every_group():
        required = [name for name, field in group.model_fields.items() if field.is_required()]
        assert required == (["url", "api_key", "api_secret"] if group is ErpnextSettings else [])


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "acme")
    monkeypatch.setenv("PUNCH_WINDOW", "2m")
    kafka = KafkaSettings.load()
    assert kafka.bootstrap_servers == "one:9092,two:9092"
    assert kafka.topics["raw"] == "acme.raw.v1"
    assert kafka.group("stream") == "acme.stream"
    assert StreamSettings.load().punch_window == 120


def test_the_file_is_read_and_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PUSH_PORT=8081\nPUSH_RETRY_AFTER=9\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("PUSH_PORT", "8082")
    push = PushSettings.load()
    assert (push.port, push.retry_after) == (8082, 9)


def test_an_argument_goes_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_PORT", "8082")
    assert PushSettings.load(port=0).port == 0


@pytest.mark.parametrize(
    ("group", "name", "text", "value"),
    [
        (StreamSettings, "DEDUP_HORIZON", "90d", 7_776_000),
        (StreamSettings, "DEDUP_HORIZON", "90 days", 7_776_000),
        (StreamSettings, "PUNCH_WINDOW", "0.5", 0.5),
        (KafkaSettings, "KAFKA_RETENTION_DAYS", "400", 400),
        (KafkaSettings, "KAFKA_RETENTION_DAYS", "400 days", 400),
        (PullSettings, "PULL_SWEEP_DAYS", "48 h", 2),
        (PushSettings, "PUSH_RETRY_AFTER", "1 min", 60),
    ],
)
def test_a_duration_has_a_unit_or_is_a_plain_number(
    monkeypatch: pytest.MonkeyPatch, group: type, name: str, text: str, value: float
) -> None:
    monkeypatch.setenv(name, text)
    field = name.removeprefix(group.model_config.get("env_prefix", "")).lower()
    assert getattr(group.load(), field) == value


@pytest.mark.parametrize("text", ["", "soon", "-5", "5 weeks", "1e3", "nan", "inf", "5m 3s", "9" * 400])
def test_what_is_no_duration_stops_the_start_with_a_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PUNCH_WINDOW", text)
    with pytest.raises(ConfigurationError, match=r"^PUNCH_WINDOW: .+"):
        StreamSettings.load()


@pytest.mark.parametrize(
    ("group", "name", "text"),
    [
        (KafkaSettings, "KAFKA_PARTITIONS", "none"),
        (KafkaSettings, "KAFKA_PARTITIONS", "0"),
        (KafkaSettings, "KAFKA_SECURITY_PROTOCOL", "TELEPATHY"),
        (KafkaSettings, "KAFKA_TOPIC_PREFIX", "with a space"),
        (KafkaSettings, "KAFKA_SESSION_TIMEOUT", "1"),
        (KafkaSettings, "KAFKA_RETENTION_DAYS", "36 h"),
        (KafkaSettings, "KAFKA_RETENTION_DAYS", "a year"),
        (CommonSettings, "LOG_LEVEL", "LOUD"),
        (CommonSettings, "METRICS_PORT", "70000"),
        (PushSettings, "PUSH_MAX_BODY", "1"),
        (PushSettings, "PUSH_PAYLOAD_FIELDS", '["type", "mask"'),
        (PushSettings, "PUSH_PAYLOAD_FIELDS", '{"type": 1}'),
        (PushSettings, "PUSH_PAYLOAD_FIELDS", "type, Employee Name"),
        (PushSettings, "PUSH_PAYLOAD_FIELDS", '["mask", "imgBase64"]'),
        (ErpnextSettings, "ERPNEXT_URL", "erp.example.com"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, group: type, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigurationError) as caught:
        group.load()
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^ERPNEXT_URL: "):
        ErpnextSettings.load()


@pytest.mark.parametrize("text", ['["type", "mask"]', "type,mask", " type , mask,"])
def test_names_are_separated_by_commas_or_a_json_list(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PUSH_PAYLOAD_FIELDS", text)
    assert PushSettings.load().payload_fields == ("type", "mask")


def test_no_photograph_is_kept_unless_someone_asks_for_it() -> None:
    assert not {"photo", "template", "name"} & set(PushSettings.load().payload_fields)


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("ERPNEXT_API_SECRET", "hunter2")
    assert "hunter2" not in repr(KafkaSettings.load())
    assert "hunter2" not in repr(ErpnextSettings.load(url="https://erp.example.com", api_key="key"))


def test_events_are_kept_longer_than_duplicates_are_known() -> None:
    assert KafkaSettings.load().retention_days * 86_400 > StreamSettings.load().dedup_horizon


@pytest.mark.parametrize("name", ["DEDUP_HORIZON", "KAFKA_RETENTION_DAYS"])
def test_what_is_gone_before_the_stream_forgets_it_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_HORIZON", "30 days")
    monkeypatch.setenv("KAFKA_RETENTION_DAYS", "30")
    assert KafkaSettings.load().retention_days == 30
    monkeypatch.setenv(name, {"DEDUP_HORIZON": "721 h", "KAFKA_RETENTION_DAYS": "29"}[name])
    with pytest.raises(ConfigurationError, match=r"^KAFKA_RETENTION_DAYS: .* is shorter than DEDUP_HORIZON "):
        KafkaSettings.load()
