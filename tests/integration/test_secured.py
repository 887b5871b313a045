"""On a cluster that refuses what no rule allows: stages and commands with exactly the rights that the page lists."""

from uuid import uuid4

import pytest
from secured_kafka import PASSWORD, PLAIN_USER, Right, SecuredKafka, run

from attendance.errors import KafkaUnavailable
from attendance.kafka.admin import create_topics
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings


def send(kafka: KafkaSettings, topic: str, value: bytes) -> None:
    async def send() -> None:
        producer = Producer(kafka, "test")
        try:
            await producer.send(OutRecord(topic, b"k", value))
        finally:
            await producer.stop()

    run(send())


def read(kafka: KafkaSettings, topic: str) -> list[bytes]:
    return [record.value for record in run(snapshot(kafka, topic, "test"))]


def test_a_user_may_do_what_it_has_the_right_to_and_nothing_else(secured_kafka: SecuredKafka) -> None:
    prefix = f"test-{uuid4().hex[:8]}"
    everything = KafkaSettings.load(
        bootstrap_servers=secured_kafka.bootstrap_servers, topic_prefix=prefix, partitions=1
    )
    run(create_topics(everything))
    raw = everything.topics["raw"]
    name = f"{prefix}-writer"
    writer = secured_kafka.user(name, [Right("topic", raw, "write")], topic_prefix=prefix, partitions=1)
    send(writer, raw, b"1")
    with pytest.raises(KafkaUnavailable):
        read(writer, raw)

    certificate = secured_kafka.certificate(f"{prefix}-reader")
    secured_kafka.allow(f"{prefix}-reader", [Right("topic", raw, "read")])
    reader = KafkaSettings.load(
        bootstrap_servers=secured_kafka.tls_servers,
        security_protocol="SSL",
        ssl_cafile=secured_kafka.authority.certificate,
        ssl_certfile=certificate.certificate,
        ssl_keyfile=certificate.key,
    )
    assert read(reader, raw) == [b"1"]
    with pytest.raises(KafkaUnavailable):
        send(reader, raw, b"2")

    plain = writer.model_copy(update={"sasl_mechanism": "PLAIN", "sasl_username": PLAIN_USER})
    secured_kafka.allow(PLAIN_USER, [Right("topic", prefix, "read", prefixed=True)])
    assert read(plain, raw) == [b"1"]

    secured_kafka.set_password(name, "another")
    with pytest.raises(KafkaUnavailable):
        send(writer, raw, b"3")
    secured_kafka.set_password(name, PASSWORD)
    secured_kafka.forbid(name, Right("topic", raw, "write"))
    with pytest.raises(KafkaUnavailable):
        send(writer, raw, b"4")
    assert read(everything, raw) == [b"1"]
