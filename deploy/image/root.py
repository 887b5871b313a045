"""The Containerfile's steps without a container daemon, in roots of Debian: what `make image-root` runs.

`build` carries each step out; `check` starts every stage and the demo from what that made. Both need root and a mount
namespace of their own, `check` also a network of its own, as `unshare` gives them. A Debian with its own Python stands
in for the base image, from the mirror that apt is set up with.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

from attendance.health import PORTS

ROOT = Path(__file__).parents[2]
CONTAINERFILE = Path(__file__).with_name("Containerfile")
PATIENCE_SECONDS = 120
FROM_THE_MACHINE = ("/etc/resolv.conf", "/etc/ssl/certs", "/etc/pip.conf")
"""What pip needs of the machine, as a builder gives it to each step."""


class Stage:
    """One root that the steps of a FROM change, and what the image says of the processes in it."""

    def __init__(self, root: Path, base: Path) -> None:
        """A copy of the base, in place of what was there."""
        self.root = root
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base), str(root)], check=True)
        self.env: dict[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.arguments: dict[str, str] = {}
        self.config: dict[str, str] = {"WORKDIR": "/"}

    def substitute(self, text: str) -> str:
        """The text with this stage's variables in it."""
        known = self.arguments | self.env
        return re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], text)

    def path(self, inside: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / Path(self.config["WORKDIR"], inside).relative_to("/")

    def run(self, script: str) -> None:
        """Carry out a RUN."""
        for name in FROM_THE_MACHINE:
            inside = self.root / name.removeprefix("/")
            if Path(name).exists():
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.mkdir(exist_ok=True) if Path(name).is_dir() else inside.touch()
                subprocess.run(["mount", "--bind", name, str(inside)], check=True)
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
        try:
            command = f"cd {shlex.quote(self.config['WORKDIR'])} && {script}"
            subprocess.run(
                ["chroot", str(self.root), "/bin/sh", "-c", command], env=pip | self.arguments | self.env, check=True
            )
        finally:
            for name in FROM_THE_MACHINE:
                subprocess.run(["umount", "--quiet", str(self.root / name.removeprefix("/"))], check=False)


def make_base(directory: Path) -> Path:
    """A Debian with Python, kept for the next time."""
    base = directory / "base"
    if not base.exists():
        mirror = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm", "Created-By: Packages"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[0]
        packages = "--include=python3,python3-venv,ca-certificates"
        made = Path(f"{base}.new")
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", packages, "bookworm", str(made), mirror], check=True)
        made.rename(base)
    return base


def steps() -> list[dict[str, str]]:
    """Each step of the Containerfile: its instruction, and what stands behind that."""
    with CONTAINERFILE.open("rb") as file:
        found: list[dict[str, str]] = json.loads(DockerfileParser(fileobj=file, env_replace=False).json)
    return [step for step in found if "COMMENT" not in step]


def build(directory: Path, version: str) -> None:
    """Carry out every step, as a builder would.

    Raises:
        ValueError: the Containerfile has an instruction that this program does not know.
        CalledProcessError: a step failed.
    """
    base = make_base(directory)
    stages: dict[str, Stage] = {}
    stage = None
    for step in steps():
        ((instruction, value),) = step.items()
        print(instruction, value.split("\n")[0][:90], flush=True)
        if instruction == "FROM":
            name = value.partition(" AS ")[2] or "image"
            stage = stages[name] = Stage(directory / name, base)
        elif stage is None:
            if instruction != "ARG":
                raise ValueError(f"{instruction} before FROM")
        else:
            carry_out(stage, instruction, value, stages, version)
    final = stages["image"]
    (directory / "image.json").write_text(json.dumps({"env": final.env, **final.config}, indent=2))


def carry_out(stage: Stage, instruction: str, value: str, stages: Mapping[str, Stage], version: str) -> None:
    """Carry out one step."""
    match instruction:
        case "RUN":
            stage.run(value)
        case "COPY":
            copy(stage, value.split(), stages)
        case "ENV":
            stage.env |= dict(stage.substitute(word).split("=", 1) for word in shlex.split(value))
        case "ARG":
            stage.arguments[value] = {"VERSION": version}[value]
        case "WORKDIR":
            stage.config["WORKDIR"] = value
            stage.path(".").mkdir(parents=True, exist_ok=True)
        case "USER" | "VOLUME" | "ENTRYPOINT" | "HEALTHCHECK" | "LABEL":
            stage.config[instruction] = stage.substitute(value)
        case _:
            raise ValueError(f"{instruction}: not known here")


def copy(stage: Stage, words: list[str], stages: Mapping[str, Stage]) -> None:
    """Carry out a COPY: files into a folder, or one folder's content into another."""
    source: Path | None = None
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, target = words
    to = stage.path(target)
    to.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = (source or ROOT) / name.removeprefix("/")
        if path.is_dir():
            shutil.copytree(
                path,
                to,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__") if not source else None,
            )
        else:
            shutil.copy2(path, to)


class Image:
    """The built root, read-only, with a data volume and a `/tmp`: what a container is started from."""

    def __init__(self, directory: Path) -> None:
        """Mount it. The mounts end with this process's namespace."""
        self.config: dict[str, Any] = json.loads((directory / "image.json").read_text())
        self.env: dict[str, str] = self.config.pop("env")
        self.root = directory / "image"
        self.user, self.group = self.config["USER"].split(":")
        (volume,) = json.loads(self.config["VOLUME"])
        self.volume = directory / "data"
        shutil.rmtree(self.volume, ignore_errors=True)
        self.volume.mkdir(mode=0o700)
        os.chown(self.volume, int(self.user), int(self.group))
        inside = self.root / volume.removeprefix("/")
        for command in (
            ["mount", "--bind", str(self.root), str(self.root)],
            ["mount", "-o", "remount,bind,ro", str(self.root)],
            ["mount", "--bind", str(self.volume), str(inside)],
            ["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(self.root / "tmp")],
            ["mount", "-t", "proc", "proc", str(self.root / "proc")],
            ["mount", "--rbind", "/dev", str(self.root / "dev")],
            ["ip", "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True)

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, *, entrypoint: bool = True
    ) -> "subprocess.Popen[bytes]":
        """Start a process as a container would have it: the image's user, without any capability."""
        whole = [*(json.loads(self.config["ENTRYPOINT"]) if entrypoint else []), *command]
        rights = ["--reuid", self.user, "--regid", self.group, "--clear-groups", "--no-new-privs", "--inh-caps=-all"]
        within = (
            f"cd {self.config['WORKDIR']} && exec {shlex.join(['setpriv', *rights, '--bounding-set=-all', *whole])}"
        )
        return subprocess.Popen(["chroot", str(self.root), "/bin/sh", "-c", within], env=self.env | dict(env or {}))

    def healthy(self, env: Mapping[str, str]) -> bool:
        """What the image's HEALTHCHECK says beside a process with these settings."""
        command = json.loads(self.config["HEALTHCHECK"].partition("CMD ")[2])
        return self.start(command, env, entrypoint=False).wait() == 0


def check(directory: Path) -> None:
    """Start everything, and say what came of it.

    Raises:
        SystemExit: something did not start, or did not balance.
    """
    image = Image(directory)
    touch = "touch /opt/punchstream/x 2>/dev/null && exit 1; touch /tmp/x ~/x && test $(id -u) = 10001"
    code = image.start(["/bin/sh", "-c", touch], entrypoint=False).wait()
    say("read-only but for the volume and /tmp, and not root", code == 0)

    together = image.start(["up"])
    settings = image.volume / ".punchstream" / "env"
    say("everything starts together", comes_true(settings.exists))
    env = dict(line.split("=", 1) for line in shlex.split(settings.read_text()) if "=" in line)
    for stage, port in PORTS.items():
        own = env | {"METRICS_PORT": str(port), "PUSH_PORT": "0", "CONSOLE_PORT": "0"}
        process = image.start([stage], own)
        say(f"{stage} starts and is healthy", comes_true(partial(image.healthy, own)))
        process.terminate()
        say(f"{stage} ends when it is asked to", process.wait(PATIENCE_SECONDS) == 0)
    together.terminate()
    say("everything ends together", together.wait(PATIENCE_SECONDS) == 0)
    say("the demo balances", image.start(["demo"]).wait() == 0)


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does within PATIENCE_SECONDS."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (true := condition()) and time.monotonic() < until:
        time.sleep(1)
    return true


def say(what: str, true: object) -> None:
    """Say whether it is so, and end if it is not."""
    print("ok:" if true else "FAILED:", what, flush=True)
    if not true:
        raise SystemExit(1)


if __name__ == "__main__":
    task, where = sys.argv[1], Path(sys.argv[2]).absolute()
    where.mkdir(parents=True, exist_ok=True)
    if task == "build":
        build(where, sys.argv[3])
    else:
        check(where)
