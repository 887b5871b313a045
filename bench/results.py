"""One JSON file for each part: its tables, each with the command, the versions and the machine it came from."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import orjson
import psutil

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "bench" / "results"
PRODUCT: Final = ("punchstream", "aiokafka", "faust-streaming", "orjson", "uvloop", "uvicorn", "httptools", "starlette")
PEERS: Final = {"faust": "faust-streaming", "quix": "quixstreams", "bytewax": "bytewax", "plain": "aiokafka"}

Row = dict[str, Any]


def save(part: str, table: str, rows: Sequence[Row], *, seed: int, parameters: Mapping[str, Any]) -> None:
    """Write one table of a part; the part's other tables stay as they were, each with its own command.

    A value of a row is a text, a number, or what `measure.spread` returns.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{part}.json"
    tables = orjson.loads(path.read_bytes()) if path.exists() else {}
    tables[table] = {
        "command": shlex.join(["python", "-m", f"bench.{part}", *sys.argv[1:]]),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "seed": seed,
        "parameters": parameters,
        "versions": versions(),
        "machine": machine(),
        # Of the last 15 minutes: whether the machine did other things too.
        "load": round(os.getloadavg()[2], 1),
        "rows": rows,
    }
    path.write_bytes(orjson.dumps(tables, option=orjson.OPT_INDENT_2))


def machine() -> dict[str, Any]:
    """The machine, without its name."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> dict[str, str]:
    """What took part, with its version."""
    jars = ROOT / "deploy" / "kafka" / "target" / "dependency"
    kafka = next((jar.stem.rpartition("-")[2] for jar in jars.glob("kafka_*.jar")), "unknown")
    found = {"Python": platform.python_version(), "Apache Kafka": kafka}
    found |= {name: version(name) for name in PRODUCT}
    return found | {f"{name} (peer {peer})": _pinned(peer, name) for peer, name in PEERS.items()}


def _pinned(peer: str, package: str) -> str:
    for line in (ROOT / "bench" / "peers" / peer / "requirements.txt").read_text().splitlines():
        name, _, rest = line.partition("==")
        if name == package:
            return rest.split()[0]
    return "unknown"
