"""On a secured broker: every refusal says its cause, and what is renewed is used by clients that live on."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from certificates import Authority
from secured_kafka import PLAIN_USER, Right, SecuredKafka, run

from attendance.errors import KafkaUnavailable
from attendance.kafka.admin import create_topics, describe_topics
from attendance.kafka.extents import committed, extents
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings

PREFIX = f"test-{uuid4().hex[:8]}"
USER = f"{PREFIX}-user"


@pytest.fixture(scope="module")
def user(secured_kafka: SecuredKafka) -> KafkaSettings:
    """A user that may do nothing."""
    run(
        create_topics(
            KafkaSettings.load(
                bootstrap_servers=secured_kafka.bootstrap_servers, topic_prefix=PREFIX, partitions=1, _env_file=None
            )
        )
    )
    return secured_kafka.user(USER, topic_prefix=PREFIX, partitions=1)


def with_certificate(broker: SecuredKafka, authority: Authority, **options: Any) -> dict[str, object]:
    shown = authority.issue(f"client-{uuid4().hex[:8]}", **options)
    return {
        "bootstrap_servers": broker.tls_servers,
        "security_protocol": "SSL",
        "ssl_certfile": shown.certificate,
        "ssl_keyfile": shown.key,
    }


Change = Callable[[SecuredKafka, Path], dict[str, object]]

REFUSALS: dict[str, tuple[Change, str]] = {
    "wrong password": (
        lambda *_: {"sasl_password": "wrong"},
        f"the user '{USER}' is unknown, or the password is wrong (the broker says: Authentication failed",
    ),
    "wrong password, PLAIN": (
        lambda *_: {"sasl_mechanism": "PLAIN", "sasl_username": PLAIN_USER, "sasl_password": "wrong"},
        f"the user '{PLAIN_USER}' is unknown, or the password is wrong",
    ),
    "another mechanism": (
        lambda *_: {"sasl_mechanism": "SCRAM-SHA-256"},
        "the broker does not offer KAFKA_SASL_MECHANISM=SCRAM-SHA-256; it offers {offered}",
    ),
    "no login": (
        lambda *_: {"security_protocol": "SSL"},
        "this port asks for a login, and KAFKA_SECURITY_PROTOCOL is SSL",
    ),
    "a login where none is": (
        lambda broker, _: {
            "bootstrap_servers": broker.bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
        },
        "this port takes no login: KAFKA_SECURITY_PROTOCOL must be one without SASL",
    ),
    "TLS to plain text": (
        lambda broker, _: {"bootstrap_servers": broker.bootstrap_servers},
        "this port does not speak TLS, and KAFKA_SECURITY_PROTOCOL is SASL_SSL",
    ),
    "plain text to TLS": (
        lambda *_: {"security_protocol": "SASL_PLAINTEXT"},
        "this port speaks TLS, and KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT",
    ),
    "no client certificate": (
        lambda broker, _: {"bootstrap_servers": broker.tls_servers, "security_protocol": "SSL"},
        "the broker asks for a client certificate",
    ),
    "an expired client certificate": (
        lambda broker, _: with_certificate(broker, broker.authority, days=-1),
        "the broker refuses the client certificate",
    ),
    "a foreign client certificate": (
        lambda broker, directory: with_certificate(broker, Authority(directory)),
        "the broker refuses the client certificate",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_connection_says_its_cause(
    secured_kafka: SecuredKafka, user: KafkaSettings, tmp_path: Path, name: str
) -> None:
    change, said = REFUSALS[name]
    with pytest.raises(KafkaUnavailable) as refusal:
        run(describe_topics(user.model_copy(update=change(secured_kafka, tmp_path))))
    assert said.format(offered=", ".join(secured_kafka.mechanisms)) in str(refusal.value)


async def send(kafka: KafkaSettings, topic: str) -> None:
    producer = Producer(kafka, "test")
    try:
        await producer.send(OutRecord(topic, b"k", b"v"))
    finally:
        await producer.stop()


def test_a_right_that_is_missing_is_named_with_its_topic(secured_kafka: SecuredKafka, user: KafkaSettings) -> None:
    raw = user.topics["raw"]
    refused = f"the user '{USER}' is not authorized: it needs"

    async def create() -> None:
        await create_topics(user.model_copy(update={"topic_prefix": f"{PREFIX}-other"}))

    for work, said in (
        (lambda: snapshot(user, raw, "test"), f"{refused} Read on the topic {raw}"),
        # A producer that may write nowhere is refused before it has named a topic.
        (lambda: send(user, raw), f"{refused} Write on the topic {raw}, and IdempotentWrite on the cluster if"),
        (lambda: describe_topics(user), rf"{refused} Describe and DescribeConfigs on the topic {PREFIX}\.\*"),
        (lambda: extents(user, raw, "test"), f"{refused} Describe on the topic {raw};"),
        (create, rf"{refused} Create on the topic {PREFIX}-other\."),
    ):
        with pytest.raises(KafkaUnavailable, match=said):
            run(work())
    secured_kafka.allow(USER, [Right("topic", raw, "describe"), Right("topic", user.topics["checkins"], "write")])
    with pytest.raises(KafkaUnavailable, match=f"{refused} Write on the topic {raw};"):
        run(send(user, raw))
    with pytest.raises(KafkaUnavailable, match=f"{refused} Describe on the group {PREFIX}.stream;"):
        run(committed(user, raw, f"{PREFIX}.stream", "test"))


async def drop_connections(producer: Producer) -> None:
    """As a broker does when it is restarted."""
    assert producer._producer is not None
    await asyncio.gather(*(connection.close() for connection in producer._producer.client._conns.values()))


def test_a_rotated_password_is_used_by_clients_that_live_on(
    secured_kafka: SecuredKafka, user: KafkaSettings, tmp_path: Path
) -> None:
    name, password = f"{PREFIX}-rotated", tmp_path / "password"
    raw = user.topics["raw"]
    secured_kafka.user(name, [Right("topic", raw, "write")])
    password.write_text("first")
    secured_kafka.set_password(name, "first")
    kafka = user.model_copy(
        update={"sasl_username": name, "sasl_password": None, "sasl_password_file": password, "request_timeout": 2.0}
    )
    one, another = OutRecord(raw, b"k", b"1"), OutRecord(raw, b"k", b"2")

    async def story() -> None:
        producer = Producer(kafka, "test")
        await producer.send(one)
        await asyncio.to_thread(secured_kafka.set_password, name, "second")
        await drop_connections(producer)
        with pytest.raises(KafkaUnavailable):
            await producer.send(another)
        password.write_text("second")
        await send_until_acknowledged(producer, [another])
        await producer.stop()

    run(story())


def test_a_renewed_certificate_is_used_by_clients_that_live_on(
    secured_kafka: SecuredKafka, user: KafkaSettings, tmp_path: Path
) -> None:
    name, raw = f"{PREFIX}-renewed", user.topics["raw"]
    secured_kafka.allow(name, [Right("topic", raw, "write")])
    shown = secured_kafka.authority.issue(name)
    kafka = KafkaSettings.load(
        bootstrap_servers=secured_kafka.tls_servers,
        security_protocol="SSL",
        ssl_cafile=secured_kafka.authority.certificate,
        ssl_certfile=shown.certificate,
        ssl_keyfile=shown.key,
        request_timeout=2.0,
        topic_prefix=PREFIX,
        partitions=1,
        _env_file=None,
    )

    async def story() -> None:
        producer = Producer(kafka, "test")
        await producer.send(OutRecord(raw, b"k", b"1"))
        # The files are the same; what is in them is not.
        await asyncio.to_thread(secured_kafka.authority.issue, name, days=-1)
        await drop_connections(producer)
        with pytest.raises(KafkaUnavailable):
            await producer.send(OutRecord(raw, b"k", b"2"))
        await asyncio.to_thread(secured_kafka.authority.issue, name)
        await send_until_acknowledged(producer, [OutRecord(raw, b"k", b"2")])
        await producer.stop()

    run(story())
