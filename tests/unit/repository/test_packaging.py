"""What is shipped, and what it is pinned to."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = {
    "attendance",
    "console",
    "ledger",
    "operations",
    "producers",
    "punchstream",
    "sandbox",
    "sinks",
    "streams",
    "zkreader",
}


def test_the_wheel_holds_our_packages_with_their_types_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


LOCKS = {"runtime.txt": 50, "image.txt": 50, "dev.txt": 50, "kerberos.txt": 50, "kerberos-build.txt": 2, "wheel.txt": 2}
"""Each lock, and how many requirements it has at least."""


@pytest.mark.parametrize(("lock", "least"), LOCKS.items())
def test_the_lock_pins_every_requirement_by_hash_and_names_no_host(lock: str, least: int) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    requirements = re.split(r"\n(?=\S)", text.strip())

    assert len(requirements) >= least
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    assert "://" not in text
    assert "--index-url" not in text


def test_no_lock_is_forgotten() -> None:
    assert {path.name for path in (ROOT / "requirements").glob("*.txt")} == LOCKS.keys()


def test_the_locks_agree() -> None:
    def pins(lock: str) -> dict[str, str]:
        return dict(re.findall(r"(?m)^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements" / lock).read_text()))

    dev, kerberos = pins("dev.txt"), pins("kerberos.txt")

    assert pins("runtime.txt").items() <= dev.items()
    # What is shipped is what was tested.
    assert pins("image.txt").items() <= dev.items()
    assert pins("wheel.txt").items() <= pins("runtime.txt").items()
    # It is installed into an environment of the developers' lock.
    assert {name: dev[name] for name in kerberos if name in dev}.items() <= kerberos.items()
