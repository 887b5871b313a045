"""Settings: from the environment and `.env`, each with its meaning. `docs/settings.md` is generated from here."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from attendance.durations import Days, Seconds, WholeSeconds, format_seconds
from attendance.errors import ConfigurationError
from attendance.name_lists import name_list
from attendance.personal import is_never_kept
from attendance.topics import TABLE, Name, Topics


def _servers(value: object) -> object:
    # The clients raise a bare ValueError, and only once they connect.
    server = r"([^\s,:\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?"
    if isinstance(value, str) and not re.fullmatch(rf"\s*{server}(\s*,\s*{server})*\s*", value):
        raise ValueError("host:port, separated by commas")
    return value


def _may_be_kept(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if is_never_kept(name):
            raise ValueError(f"{name} is never kept: no photograph, template, name or password is")
    return names


class SettingsGroup(BaseSettings):
    """Settings of one part. Those of a single target are in its module (`sinks.targets`)."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """These settings from the environment, `.env` and their defaults.

        Raises:
            ConfigurationError: a setting is wrong or missing; the message names it.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            first = error.errors()[0]
            name = f"{cls.model_config.get('env_prefix', '')}{first['loc'][0]}" if first["loc"] else cls.__name__
            raise ConfigurationError(f"{name.upper()}: {first['msg'].removeprefix('Value error, ')}") from error


class KafkaSettings(SettingsGroup):
    """Kafka: how every stage reaches it."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")

    bootstrap_servers: Annotated[str, BeforeValidator(_servers)] = Field(
        "localhost:9092", description="Brokers, `host:port`, separated by commas."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, with a SASL protocol."
    )
    sasl_username: str | None = Field(None, description="SASL user.")
    sasl_username_file: Path | None = Field(
        None, description="File with the SASL user instead, read whenever a client connects."
    )
    sasl_password: SecretStr | None = Field(None, description="SASL password.")
    sasl_password_file: Path | None = Field(
        None, description="File with the SASL password instead, read whenever a client connects."
    )
    sasl_oauthbearer_token_endpoint_url: str | None = Field(
        None, pattern=r"^https?://", description="Where OAUTHBEARER gets its tokens, by OAuth's client credentials."
    )
    sasl_oauthbearer_client_id: str | None = Field(None, description="Who asks there for a token.")
    sasl_oauthbearer_client_secret: SecretStr | None = Field(None, description="Secret of that client.")
    sasl_oauthbearer_client_secret_file: Path | None = Field(
        None, description="File with that secret instead, read whenever a token is asked for."
    )
    sasl_oauthbearer_scope: str | None = Field(None, description="Scope of the token, if the endpoint wants one.")
    sasl_oauthbearer_extensions: str | None = Field(
        None,
        pattern=r"^[A-Za-z]+=[^,=]+(,[A-Za-z]+=[^,=]+)*$",
        description="SASL extensions beside the token, such as `logicalCluster=lkc-1,identityPoolId=pool-1`.",
    )
    sasl_kerberos_service_name: str = Field("kafka", description="First part of the brokers' Kerberos principals.")
    sasl_kerberos_domain_name: str | None = Field(None, description="Second part, if it is not the broker's host name.")
    ssl_cafile: Path | None = Field(None, description="CA certificates. If unset, the system's own.")
    ssl_certfile: Path | None = Field(None, description="Client certificate, for mutual TLS.")
    ssl_keyfile: Path | None = Field(None, description="Key of that certificate. If unset, it is in the same file.")
    ssl_key_password: SecretStr | None = Field(None, description="Password of that key, if it is encrypted.")
    ssl_key_password_file: Path | None = Field(None, description="File with the password of that key instead.")
    topic_prefix: str = Field(
        "attendance",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="First part of every topic and consumer group name.",
    )
    enable_idempotence: bool = Field(
        True, description="Idempotent producers. Off only for a broker that lacks them (the embedded one)."
    )
    partitions: int = Field(
        12,
        ge=1,
        le=1000,
        description="Partitions of the topics at creation. Fixed for life: device order and state need it.",
    )
    replication_factor: int | None = Field(
        None, ge=1, description="Copies of each partition. If unset, 3, or the number of brokers if that is less."
    )
    retention_days: Days = Field(
        400, ge=1, description="How long events and outcomes are kept. Longer than `DEDUP_HORIZON`."
    )
    request_timeout: Seconds = Field(
        10, description="How long a produce may take before it counts as not acknowledged."
    )
    session_timeout: Seconds = Field(
        30,
        ge=6,
        description="If a consumer is silent for so long, another takes over; of a sink after 8 s at most. 6 s on the "
        "embedded broker.",
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """These settings, as `SettingsGroup.load` has them.

        Raises:
            ConfigurationError: a setting is wrong, or what is kept would be gone before the stream forgets it.
        """
        settings = super().load(**overrides)
        horizon = StreamSettings.load().dedup_horizon
        if settings.retention_days * 86400 < horizon:
            raise ConfigurationError(
                f"KAFKA_RETENTION_DAYS: {settings.retention_days} days is shorter than DEDUP_HORIZON "
                f"({format_seconds(horizon)}), which has to be the same for every process"
            )
        return settings

    @property
    def topics(self) -> Topics:
        """The topic names under this prefix."""
        return Topics(self.topic_prefix)

    @property
    def oauthbearer_extensions(self) -> list[tuple[str, str]]:
        """The SASL extensions, each with its value."""
        pairs = self.sasl_oauthbearer_extensions.split(",") if self.sasl_oauthbearer_extensions else []
        return [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)]

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats of a consumer, by which it also hears of a rebalance."""
        return min(3.0, self.session_timeout / 6)

    def partitions_of(self, name: Name) -> int:
        """How many partitions of a topic hold records."""
        return TABLE[name].partitions or self.partitions

    def partitions_used(self, topic: str, there: int) -> int:
        """How many partitions of a topic its keys are spread over, however many somebody has added.

        Args:
            topic: The full name; of one that is not ours every partition is used.
            there: How many the broker has.
        """
        name = next((each for each in TABLE if self.topics[each] == topic), None)
        return there if name is None else min(there, self.partitions_of(name))

    def group(self, stage: str) -> str:
        """The consumer group of a stage."""
        return f"{self.topic_prefix}.{stage}"

    def client_id(self, client: str) -> str:
        """How a client of a stage or a command is named in Kafka's logs and quotas."""
        return f"{self.topic_prefix}-{client}"


class CommonSettings(SettingsGroup):
    """Common: what every stage reads beside Kafka."""

    punchstream_devices: Path = Field(Path("devices.yaml"), description="The fleet file: all devices.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")
    log_format: Literal["json", "text"] = Field("json", description="`json`: one object a line. `text`: for people.")
    metrics_host: str = Field("127.0.0.1", description="Address of `/metrics`, `/healthz`, `/readyz`.")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="Its port; 0: none. Unset: the stage's own.")


class ClockSettings(SettingsGroup):
    """Clock: how far this machine's clock may differ from others."""

    model_config = SettingsConfigDict(env_prefix="CLOCK_")

    warn: Seconds = Field(30, gt=0, description="If another clock differs by more, the log says so.")
    limit: Seconds = Field(
        120,
        gt=0,
        description="If the clock is off by more, the stage stands still: push answers 503, the others decide nothing. "
        "Less than `FUTURE_TOLERANCE`.",
    )
    same_machine: bool | None = Field(
        None,
        description="Whether the brokers have this machine's clock, as containers beside this one have. That theirs "
        "agrees then proves nothing. If unset, their address decides.",
    )


class UnreadSettings(SettingsGroup):
    """Unread: what devices sent and no adapter understood."""

    model_config = SettingsConfigDict(env_prefix="UNREAD_")

    days: Days | None = Field(
        None,
        ge=1,
        description="How long what was not understood is kept, to be read again by a later release. If unset, as long "
        "as `KAFKA_RETENTION_DAYS`.",
    )


class DeadLetterSettings(SettingsGroup):
    """Dead letters: what failed."""

    model_config = SettingsConfigDict(env_prefix="DEAD_LETTER_")

    days: Days | None = Field(
        None,
        ge=1,
        description="How long dead letters are kept, and what was done about them. If unset, as long as "
        "`KAFKA_RETENTION_DAYS`. The log of push and pull warns 30 days before one goes that nobody has dealt with.",
    )


class SealSettings(SettingsGroup):
    """Seal: keys for what no adapter understood."""

    model_config = SettingsConfigDict(env_prefix="SEAL_")

    key: SecretStr | None = Field(
        None,
        description="Keys of 32 bytes in base64, separated by commas. The first seals what was not understood before "
        "Kafka has it, and all of them open it. If unset, nothing is sealed.",
    )
    key_file: Path | None = Field(None, description="File with those keys instead, one a line.")


class PushSettings(SettingsGroup):
    """Push: terminals that send over HTTP."""

    model_config = SettingsConfigDict(env_prefix="PUSH_")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    # A body that cannot be read becomes one dead letter, which has to fit into a record.
    max_body: int = Field(
        1_048_576, ge=1024, le=2_000_000, description="Largest request body in bytes, counted as it arrives."
    )
    body_timeout: Seconds = Field(30, gt=0, description="How long a request's body may take to arrive.")
    max_head: int = Field(
        65_536, ge=1024, le=1_048_576, description="Largest request line with headers in bytes, about."
    )
    head_timeout: Seconds = Field(60, gt=0, description="How long a request's head may take, or the silence before it.")
    max_connections: int = Field(10_000, ge=16, description="Connections at a time, if so many files may be open.")
    max_connections_per_address: int = Field(
        2_000, ge=4, description="The same from one address, such as that of a NAT."
    )
    max_receiving: int = Field(
        67_108_864, ge=65_536, description="Bytes of requests that arrive, or wait for an answer."
    )
    max_receiving_per_address: int = Field(33_554_432, ge=65_536, description="The same from one address.")
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(name_list)] = Field(
        (), description="Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` is believed."
    )
    max_in_flight: int = Field(
        33_554_432,
        ge=1024,
        description="Bytes that may wait for Kafka's acknowledgement. If more would wait, a request is answered 503.",
    )
    retry_after: WholeSeconds = Field(5, ge=1, description="How long a 503 asks a terminal to wait (Retry-After).")
    # pydantic-settings would report broken JSON by an error of its own, before any validation.
    payload_fields: Annotated[tuple[str, ...], NoDecode, BeforeValidator(name_list), AfterValidator(_may_be_kept)] = (
        Field(
            ("type", "verify_mode", "work_code", "sequence", "log_id", "temperature", "mask"),
            description="The vendor's own fields that are kept, separated by commas, or a JSON list. Photographs, "
            "templates, names, passwords and identity cards are refused, however they are spelled.",
        )
    )


class PullSettings(SettingsGroup):
    """Pull: terminals that are asked."""

    model_config = SettingsConfigDict(env_prefix="PULL_")

    interval: Seconds = Field(
        60,
        ge=1,
        description="Time between two requests for new records, unless the device's registry entry has its own.",
    )
    concurrency: int = Field(
        64,
        ge=1,
        le=1000,
        description="Devices that are asked at the same time and answered the last time; as many again that did not.",
    )
    connect_timeout: Seconds = Field(5, gt=0, description="How long a connection to a device may take.")
    answer_timeout: Seconds = Field(
        15, gt=0, description="How long a device may be silent in the middle of a response."
    )
    page_timeout: Seconds = Field(60, gt=0, description="How long a device may take for one page of records in all.")
    retry_max: Seconds = Field(
        600, gt=0, description="Longest pause, with full jitter, before a device that does not answer is asked again."
    )
    refused_pause: Seconds = Field(
        1800,
        gt=0,
        description="Pause before a device that refuses the credentials is asked again. A change of its entry ends it.",
    )
    sweep_days: Days = Field(
        3,
        ge=1,
        le=90,
        description="How far back each device is read again every night, for records that it uploaded late.",
    )
    ssl_cafile: Path | None = Field(
        None, description="Certificates to trust in devices that speak HTTPS, instead of the system's own."
    )


class StreamSettings(SettingsGroup):
    """Stream: rules for duplicates, repeats and times."""

    punch_window: Seconds = Field(
        60, description="A punch within this time of a kept one, of the same user on the same device, is a repeat."
    )
    dedup_horizon: Seconds = Field(
        90 * 86400,
        description="How far back each user's punches are at hand. What is older is decided by the stream's changelog.",
    )
    future_tolerance: Seconds = Field(
        300, description="A punch that is dated further ahead of its arrival is implausible."
    )
    clock_tolerance: Seconds = Field(
        600,
        description="If a device's clock is off by more, its punches become dead letters for a person to decide.",
    )
    dedup_store: Literal["memory", "rocksdb"] = Field(
        "memory",
        description="Where the deduplication state is: in memory, or on disk, from which a restart continues.",
    )
    dedup_directory: Path = Field(
        Path(".punchstream/dedup-state"),
        description="Directory of `rocksdb`. You may delete it while no stream runs: Kafka has the same state.",
    )
    waiting_users_warn: int = Field(1000, ge=1, description="If more users of one device wait, the log says so.")
    stream_batch: int = Field(2000, ge=1, description="Most records of one fetch. A step decides up to twice as many.")


class ErpnextSettings(SettingsGroup):
    """ERPNext: the site, and its API user."""

    model_config = SettingsConfigDict(env_prefix="ERPNEXT_")

    url: str = Field(pattern=r"^https?://", description="The site, such as `https://erp.example.com`.")
    api_key: str = Field(min_length=1, description="Key of the API user.")
    api_secret: SecretStr = Field(min_length=1, description="Secret of the API user.")
    timeout: Seconds = Field(30, gt=0, description="Longest wait for one response.")
    verify_tls: bool = Field(True, description="Whether the site's certificate is checked.")


class DirectorySettings(SettingsGroup):
    """Directory: where the user map comes from."""

    model_config = SettingsConfigDict(env_prefix="DIRECTORY_")

    interval: Seconds = Field(60, gt=0, description="Time between two looks for changed employees, and at the desk.")
    full_interval: Seconds = Field(
        3600, gt=0, description="Time between two full comparisons, which repair what changed without a trace."
    )
    live_interval: Seconds = Field(
        300,
        ge=30,
        description="Time between two writings of what devices last said into ERPNext's desk, if it has them.",
    )
    max_removed: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Largest part of the employees, or of the mappings, that one comparison may remove; 1 allows any.",
    )


class SinkSettings(SettingsGroup):
    """Sink: delivery to the target."""

    model_config = SettingsConfigDict(env_prefix="SINK_")

    target: str = Field(
        "erpnext",
        description="Where check-ins go: `erpnext`, or another target such as `jsonl`, for trying things out.",
    )
    concurrency: int = Field(
        4,
        ge=1,
        le=64,
        description="Most requests to the target at the same time. Its response times decide how many are used.",
    )
    batch: int = Field(100, ge=1, le=1000, description="Most documents in one request; 200 without fast ingest.")
    max_in_flight: int = Field(2000, ge=1, description="Most check-ins that are fetched and not yet delivered.")
    retry_max: Seconds = Field(60, gt=0, description="Longest pause between two attempts, with full jitter.")
    error_attempts: int = Field(
        8, ge=1, description="Attempts at a record that alone causes an error, before it becomes a dead letter."
    )
    dead_letter_run: int = Field(
        100, ge=1, description="The sink stops after so many dead letters in a row, without a delivery between them."
    )
    dead_letter_ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The sink stops if more than this part of the last 500 outcomes are dead letters; 1 allows any.",
    )


class CompletenessSettings(SettingsGroup):
    """Completeness: `Shift Type.last_sync_of_checkin`."""

    model_config = SettingsConfigDict(env_prefix="COMPLETENESS_")

    interval: Seconds = Field(300, gt=0, description="Time between two calculations of how far each shift is complete.")
    warn_after: Seconds = Field(3600, gt=0, description="If a device holds a shift back for longer, the log names it.")


GROUPS: tuple[type[SettingsGroup], ...] = (
    KafkaSettings,
    CommonSettings,
    ClockSettings,
    UnreadSettings,
    DeadLetterSettings,
    SealSettings,
    PushSettings,
    PullSettings,
    StreamSettings,
    ErpnextSettings,
    DirectorySettings,
    SinkSettings,
    CompletenessSettings,
)
