"""Builds the aiokafka clients from settings."""

import ssl
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.kafka.consumer import WatchedConsumer
from attendance.kafka.records import MAX_RECORD_BYTES
from attendance.settings import KafkaSettings

# aiokafka 0.14 does not look for a partition's new leader where the old one refuses to tell the offset to begin at. It
# asks the same broker until its metadata are this old; by default that is five minutes.
METADATA_MAX_AGE_MS: Final = 10_000

# How long a broker holds a fetch that finds nothing. aiokafka asks it for nothing else meanwhile, not for a partition
# either that is behind. The embedded broker answers only when half of this is over, whatever it has.
FETCH_MAX_WAIT_MS: Final = 100


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS context that the settings ask for, None for a plain connection.

    Raises:
        ConfigurationError: a certificate cannot be read.
    """
    if "SSL" not in settings.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"KAFKA_SSL_*: {error}") from error
    return context


def connection_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """What every client is built with: where Kafka is, and how it is logged in to.

    Raises:
        ConfigurationError: a setting is missing or a certificate cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": client_id,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
        "request_timeout_ms": round(settings.request_timeout * 1000),
    }
    if settings.security_protocol.startswith("SASL"):
        if settings.sasl_username is None or settings.sasl_password is None:
            raise ConfigurationError("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed with a SASL protocol")
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return options


def unavailable(settings: KafkaSettings, error: KafkaError) -> KafkaUnavailable:
    """The error of the library as the one that callers know."""
    return KafkaUnavailable(f"{settings.bootstrap_servers}: {error}")


def create_producer(settings: KafkaSettings, client_id: str) -> AIOKafkaProducer:
    """A producer, not started, whose acknowledgement means that every in-sync replica has the record."""
    return AIOKafkaProducer(
        **connection_options(settings, client_id),
        acks="all",
        enable_idempotence=settings.enable_idempotence,
        max_request_size=MAX_RECORD_BYTES,
        # A broker without idempotent producers is the embedded one. It takes the first offset of a partition's last
        # batch for the last, so whoever reads up to the end (Faust's recovery does) stops short, unless each batch
        # holds one record.
        max_batch_size=131_072 if settings.enable_idempotence else 1,
    )


def create_consumer(
    settings: KafkaSettings, *topics: str, client_id: str, group: str | None = None, **options: Any
) -> WatchedConsumer:
    """A consumer, not started, that begins at the earliest record and commits only when told to.

    Without a group it is assigned every partition of its topics.
    """
    return WatchedConsumer(
        *topics,
        **connection_options(settings, client_id),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=round(settings.session_timeout * 1000),
        heartbeat_interval_ms=round(settings.heartbeat_interval * 1000),
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        **options,
    )


def create_admin(settings: KafkaSettings, client_id: str) -> AIOKafkaAdminClient:
    """A client that makes and describes topics and reads the offsets of groups, not started."""
    return AIOKafkaAdminClient(**connection_options(settings, client_id))
