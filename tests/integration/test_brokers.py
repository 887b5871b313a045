import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sandbox.broker import Broker, BrokerFailed, BrokerKind, create_broker
from sandbox.broker.kafka import Kafka

pytestmark = pytest.mark.broker


@pytest.fixture
def own_broker(broker_kind: BrokerKind, tmp_path: Path) -> Iterator[Broker]:
    """A broker the test may do anything to."""
    broker = create_broker(broker_kind, tmp_path)
    yield broker
    broker.kill()


def processes(broker: Broker) -> list[psutil.Process]:
    return [psutil.Process(node.process.pid) for node in broker.nodes]


async def create_topic(broker: Broker, topic: str, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=replicas)])
    finally:
        await admin.close()


async def produce(broker: Broker, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, acks="all", enable_idempotence=broker.supports_idempotence
    )
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def first_value(broker: Broker, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        value: bytes | None = (await consumer.getone()).value
        return value
    finally:
        await consumer.stop()


def test_a_client_finds_the_broker_by_its_settings(broker: Broker) -> None:
    settings = broker.client_settings()
    assert broker.answers()
    assert settings["KAFKA_BOOTSTRAP_SERVERS"] == broker.bootstrap_servers
    assert settings["KAFKA_ENABLE_IDEMPOTENCE"] == {"embedded": "false", "kafka": "true"}[broker.name]
    assert settings["KAFKA_SESSION_TIMEOUT"] == "6s"


def test_the_broker_listens_on_the_loopback_address_only(broker: Broker) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes(broker)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_record_comes_back_as_it_was_sent(broker: Broker) -> None:
    topic = f"round-trip-{broker.name}"
    asyncio.run(create_topic(broker, topic))
    asyncio.run(produce(broker, topic, b"punch"))
    assert asyncio.run(first_value(broker, topic)) == b"punch"


def test_a_paused_broker_hangs_and_a_resumed_one_answers(own_broker: Broker) -> None:
    with own_broker:
        own_broker.pause()
        with socket.create_connection(("127.0.0.1", own_broker.nodes[0].port), timeout=5):
            assert not own_broker.answers()
        own_broker.resume()
        assert own_broker.answers()


def test_stopping_leaves_no_process_even_of_a_paused_broker(own_broker: Broker) -> None:
    own_broker.start()
    started = processes(own_broker)
    own_broker.pause()
    own_broker.stop()
    assert not any(process.is_running() for process in started)
    assert not own_broker.answers()


def test_a_killed_broker_comes_back_at_the_same_address(own_broker: Broker) -> None:
    address = own_broker.bootstrap_servers
    own_broker.start()
    own_broker.kill()
    assert not own_broker.answers()
    own_broker.start()
    assert own_broker.answers()
    assert own_broker.bootstrap_servers == address


def test_a_broker_that_cannot_start_says_why_and_leaves_no_process(own_broker: Broker) -> None:
    [node] = own_broker.nodes
    with socket.create_server(("127.0.0.1", node.port)), pytest.raises(BrokerFailed, match=r"(?i)address.*in use"):
        own_broker.start()
    assert not node.process.running


def test_apache_kafka_keeps_records_over_a_crash_and_in_a_later_object(kafka_jars: None, tmp_path: Path) -> None:
    broker = create_broker("kafka", tmp_path)
    with broker:
        asyncio.run(create_topic(broker, "kept"))
        asyncio.run(produce(broker, "kept", b"punch"))
        broker.kill()
        broker.start()
        assert asyncio.run(first_value(broker, "kept")) == b"punch"
    with create_broker("kafka", tmp_path) as later:
        assert asyncio.run(first_value(later, "kept")) == b"punch"


def test_a_cluster_of_three_takes_records_while_one_node_is_down(kafka_jars: None, tmp_path: Path) -> None:
    with Kafka(tmp_path, nodes=3) as cluster:
        asyncio.run(create_topic(cluster, "replicated", replicas=3))
        cluster.nodes[0].process.kill()
        asyncio.run(produce(cluster, "replicated", b"punch"))
        assert asyncio.run(first_value(cluster, "replicated")) == b"punch"
