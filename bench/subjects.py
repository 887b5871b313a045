"""What is measured: the stream of the product, and its peers, each as processes on the same topics."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from attendance.topics import Name
from bench.cluster import TopicSet, of_checkout
from bench.events import Workload
from bench.results import ROOT
from sandbox.process import ChildProcess

_PEERS: Final = ROOT / "bench" / "peers"
_ENVIRONMENTS: Final = ROOT / "bench" / ".venvs"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that reads raw events and writes check-ins.

    `outputs` are the topics it writes to, `counts_repeats` whether they get a record of each repeat too. `commits` says
    whether its offsets are Kafka's; those of the others are their own, and only their output shows how far they are.
    """

    name: str
    does: str
    prepare: Callable[[TopicSet, Workload], tuple[list[str | Path], dict[str, str]]]
    outputs: tuple[Name, ...] = ("checkins",)
    counts_repeats: bool = False
    commits: bool = True
    share: float = 1.0
    """Of the events, for one that is slow."""
    root: Path = ROOT
    """The checkout that makes its topics."""

    def process(self, topics: TopicSet, workload: Workload, number: int = 1) -> ChildProcess:
        """One of its processes, not started."""
        command, environment = self.prepare(topics, workload)
        log_file = topics.directory / f"{self.name}-{number}.log"
        return ChildProcess(command, log_file=log_file, env=environment, stop_seconds=20)

    def group(self, topics: TopicSet) -> str:
        """Its consumer group."""
        return topics.kafka.group("stream")

    def expected(self, events: int, new: int) -> int:
        """How many records its outputs get of so many events."""
        return events if self.counts_repeats else new


def _punchstream(topics: TopicSet, _workload: Workload) -> tuple[list[str | Path], dict[str, str]]:
    return [sys.executable, "-m", "punchstream", "stream"], topics.environment()


def checkout(name: str, root: Path) -> Subject:
    """The stream as it stands in a checkout, with what is installed here.

    Args:
        name: What the tables call it.
        root: The checkout's folder.

    Raises:
        FileNotFoundError: There is no Punchstream in that folder.
    """
    command, environment = of_checkout(root, "punchstream", "stream")

    def prepare(topics: TopicSet, _workload: Workload) -> tuple[list[str | Path], dict[str, str]]:
        return [*command], topics.environment() | environment

    return replace(PUNCHSTREAM, name=name, prepare=prepare, root=root)


def _peer(name: str, *arguments: str | Path) -> Callable[[TopicSet, Workload], tuple[list[str | Path], dict[str, str]]]:
    def prepare(topics: TopicSet, workload: Workload) -> tuple[list[str | Path], dict[str, str]]:
        users, state = topics.directory / "users.json", topics.directory / "state"
        users.write_bytes(orjson.dumps(workload.employees()))
        state.mkdir(exist_ok=True)
        environment = os.environ | {
            "PEER_SERVERS": topics.kafka.bootstrap_servers,
            "PEER_RAW": topics.kafka.topics["raw"],
            "PEER_OUT": topics.kafka.topics["checkins"],
            "PEER_GROUP": topics.kafka.group("stream"),
            "PEER_PARTITIONS": str(topics.kafka.partitions),
            "PEER_USERS": str(users),
            "PEER_STATE": str(state),
        }
        python = _ENVIRONMENTS / name / "bin" / "python"
        return [python, *arguments], environment

    return prepare


def _bytewax(topics: TopicSet, workload: Workload) -> tuple[list[str | Path], dict[str, str]]:
    command, environment = _peer("bytewax")(topics, workload)
    (python,) = command
    state = Path(environment["PEER_STATE"])
    # Its recovery store has to be there before it starts.
    subprocess.run([python, "-m", "bytewax.recovery", state, "1"], check=True, capture_output=True)
    flow = f"{_PEERS / 'bytewax' / 'peer.py'}:flow"
    return [python, "-m", "bytewax.run", flow, "-r", state, "-s", "5", "-b", "0"], environment


PUNCHSTREAM: Final = Subject(
    "punchstream",
    "durable state; every repeat recorded too",
    _punchstream,
    outputs=("checkins", "dropped"),
    counts_repeats=True,
)
PLAIN: Final = Subject("plain", "aiokafka and a set; keeps nothing", _peer("plain", _PEERS / "plain" / "peer.py"))
FAUST: Final = Subject(
    "faust",
    "an ordinary agent: table with changelog, awaited sends",
    _peer("faust", _PEERS / "faust" / "peer.py", "worker", "--without-web", "--loglevel", "warn"),
    share=0.2,
)
QUIX: Final = Subject("quix", "RocksDB and changelog", _peer("quix", _PEERS / "quix" / "peer.py"))
BYTEWAX: Final = Subject("bytewax", "recovery store in SQLite", _bytewax, commits=False)
