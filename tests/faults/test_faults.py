"""A short part of the fault matrix; `make faults` runs all of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cells import Cell, run
from harness.cluster import Cluster, cluster
from harness.network import Network

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

SEED = 1
CELLS = (
    Cell("push", "SIGKILL"),
    Cell("stream", "SIGKILL"),
    Cell("stream", "SIGSTOP", "after output, before state", lasts=12),
    Cell("sink", "SIGKILL"),
    Cell("leader", "SIGKILL"),
)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def brokers(kafka_jars: None, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("brokers"), network) as running:
        yield running


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_nothing_is_lost_and_nothing_double_whatever_is_struck(
    cell: Cell, brokers: Cluster, network: Network, tmp_path: Path
) -> None:
    brokers.wait_until_whole()
    result = run(cell, SEED, brokers, network, tmp_path / "cell")
    assert result.raw > 0
    assert result.problems == ()
