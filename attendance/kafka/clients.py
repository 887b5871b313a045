"""Builds the aiokafka clients from settings."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from attendance.errors import KafkaUnavailable
from attendance.kafka.causes import may_be_the_connection, what_is_not_allowed, why_unreachable
from attendance.kafka.consumer import WatchedConsumer
from attendance.kafka.credentials import Login, log_in_anew, ssl_context
from attendance.kafka.kerberos import speak_gssapi
from attendance.kafka.records import MAX_RECORD_BYTES
from attendance.kafka.tokens import token_provider
from attendance.runtime import wait_for_kafka
from attendance.settings import KafkaSettings

# aiokafka 0.14 does not look for a partition's new leader where the old one refuses to tell the offset to begin at. It
# asks the same broker until its metadata are this old; by default that is five minutes.
METADATA_MAX_AGE_MS: Final = 10_000

# How long a broker holds a fetch that finds nothing. aiokafka asks it for nothing else meanwhile, not for a partition
# either that is behind. The embedded broker answers only when half of this is over, whatever it has.
FETCH_MAX_WAIT_MS: Final = 100


def login(settings: KafkaSettings) -> Login | None:
    """User and password, None with a mechanism that has tokens or tickets instead.

    Raises:
        ConfigurationError: one is missing, or its file cannot be read.
    """
    return None if settings.sasl_mechanism in ("OAUTHBEARER", "GSSAPI") else Login(settings)


def logs_in(settings: KafkaSettings) -> bool:
    """Whether the brokers are logged in to (SASL)."""
    return settings.security_protocol.startswith("SASL")


def connection_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """What every client is built with: where Kafka is, and how it is logged in to.

    Raises:
        ConfigurationError: a setting is missing, a certificate cannot be read, or a library is not installed.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": client_id,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
        "request_timeout_ms": round(settings.request_timeout * 1000),
    }
    if logs_in(settings):
        options["sasl_mechanism"] = settings.sasl_mechanism
        if (known := login(settings)) is not None:
            options |= {"sasl_plain_username": known.username, "sasl_plain_password": known.password}
        elif settings.sasl_mechanism == "GSSAPI":
            speak_gssapi()
            options |= {
                "sasl_kerberos_service_name": settings.sasl_kerberos_service_name,
                "sasl_kerberos_domain_name": settings.sasl_kerberos_domain_name,
            }
        else:
            options["sasl_oauth_token_provider"] = token_provider(settings)
    return options


async def cause_of_connections(settings: KafkaSettings) -> str | None:
    """Try the servers, each for some seconds at most: what those fail with that cannot be reached; None if all can.

    Raises:
        ConfigurationError: a certificate or a password cannot be read.
    """
    return await why_unreachable(settings, connection_options(settings, "punchstream-cause"))


async def unavailable(
    settings: KafkaSettings, error: KafkaError, *, operation: str | None = None, topics: Iterable[str] = ()
) -> KafkaUnavailable:
    """The error of the library as the one that callers know, with its cause.

    Where the cause may be the connection, the servers are tried, each for some seconds at most.

    Args:
        settings: How Kafka is reached.
        error: What the library said.
        operation: What was tried, by Kafka's name for the right to it: `Read`, `Write`, `Create`.
        topics: Which topics that was about.
    """
    forbidden = what_is_not_allowed(settings, error, operation, topics)
    if forbidden is not None:
        return KafkaUnavailable(f"{settings.bootstrap_servers}: {forbidden}")
    if may_be_the_connection(error):
        cause = await cause_of_connections(settings)
        if cause is not None:
            return KafkaUnavailable(cause)
    return KafkaUnavailable(f"{settings.bootstrap_servers}: {error}")


async def wait_for_cause(
    settings: KafkaSettings, error: KafkaError | KafkaUnavailable, *, topic: str, operation: str = "Read"
) -> None:
    """Log why Kafka does not answer, and pause before the next try.

    Args:
        settings: How Kafka is reached.
        error: What the library said, or what is known already.
        topic: Which topic was read or written.
        operation: What was tried, as in `unavailable`.
    """
    if isinstance(error, KafkaError):
        error = await unavailable(settings, error, operation=operation, topics=[topic])
    await wait_for_kafka(error, topic=topic)


def create_producer(settings: KafkaSettings, client_id: str) -> AIOKafkaProducer:
    """A producer, not started, whose acknowledgement means that every in-sync replica has the record."""
    producer = AIOKafkaProducer(
        **connection_options(settings, client_id),
        acks="all",
        enable_idempotence=settings.enable_idempotence,
        max_request_size=MAX_RECORD_BYTES,
        # A broker without idempotent producers is the embedded one. It takes the first offset of a partition's last
        # batch for the last, so whoever reads up to the end (Faust's recovery does) stops short, unless each batch
        # holds one record.
        max_batch_size=131_072 if settings.enable_idempotence else 1,
    )
    if logs_in(settings):
        log_in_anew(producer.client, login(settings))
    return producer


def create_consumer(
    settings: KafkaSettings,
    *topics: str,
    client_id: str,
    group: str | None = None,
    reset: Literal["earliest", "none"] = "earliest",
    **options: Any,
) -> WatchedConsumer:
    """A consumer, not started, that commits only when told to.

    Without a group it is assigned every partition of its topics. Where it has no offset, or one that the partition does
    not have, it begins at the earliest record, or (`none`) raises.
    """
    consumer = WatchedConsumer(
        *topics,
        **connection_options(settings, client_id),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset=reset,
        session_timeout_ms=round(settings.session_timeout * 1000),
        heartbeat_interval_ms=round(settings.heartbeat_interval * 1000),
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        **options,
    )
    if logs_in(settings):
        log_in_anew(consumer._client, login(settings))  # noqa: SLF001 - aiokafka makes it itself
    return consumer


def create_admin(settings: KafkaSettings, client_id: str) -> AIOKafkaAdminClient:
    """A client that makes and describes topics and reads the offsets of groups, not started."""
    admin = AIOKafkaAdminClient(**connection_options(settings, client_id))
    if logs_in(settings):
        log_in_anew(admin._client, login(settings))  # noqa: SLF001 - aiokafka makes it itself
    return admin
