import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SEED = 7
# Whatever the fleet says that nobody may ever see again, as the fleet itself knows it.
UNSEEN = f"""
import json
from attendance.times import now
from sandbox.fleet.plan import PHOTO, plan
print(json.dumps([PHOTO[:64], *(terminal.token for terminal in plan({SEED}, now()).terminals)]))
"""
ERPNEXT_SECRET = "admin-secret"


def test_the_demo_on_kafka_balances_and_nothing_that_it_leaves_holds_a_token_a_secret_or_a_photograph(
    kafka_jars: None, punchstream: Run, tmp_path: Path
) -> None:
    # On the embedded broker it is `make demo`, with which `.ci/run` ends.
    kept = tmp_path / "kept"

    answer = punchstream(
        *("demo", "--broker", "kafka", "--vendors", "all", "--seed", str(SEED)),
        *("--seconds", "4", "--keep", str(kept)),
        timeout=150,
    )

    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = answer.stdout.splitlines()
    assert "Balanced." in lines
    assert any(line.endswith(" dead-lettered") for line in lines)
    assert answer.stderr == ""
    asked = subprocess.run([sys.executable, "-c", UNSEEN], capture_output=True, text=True, check=True)
    photo, *tokens = json.loads(asked.stdout)
    assert sha256(tokens[0].encode()).hexdigest() in (kept / "devices.yaml").read_text()
    files = [file for file in kept.rglob("*") if file.is_file()]
    assert {"push.log", "stream.log", "sink.log", "directory.log"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        # Among them are the topics.
        found = [unseen for unseen in (photo, *tokens, ERPNEXT_SECRET) if unseen.encode() in content]
        assert found == [], file
