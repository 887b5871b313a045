"""The Helm chart as helm renders it for each `ci/*-values.yaml`: `make chart` keeps it in `deploy/helm/rendered/`.

To build helm takes minutes, so tests look at what is kept, and at whether it is of the chart as it is.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HELM = Path(__file__).parents[2] / "deploy" / "helm"
CHART = HELM / "punchstream"
RENDERED = HELM / "rendered"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.33.0"
"""Which helm is to take for the cluster; what it renders is the same for each."""


def digest() -> str:
    """Of all that what is rendered depends on: the chart without its page, and without the rules for Prometheus."""
    found = hashlib.sha256()
    for path in sorted(CHART.rglob("*")):
        if path.is_file() and path.name not in {"README.md", "alerts.yml"} and path.parent.name != "clusters":
            found.update(f"{path.relative_to(CHART)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def kept(values: Path) -> Path:
    """Where what is rendered with these values is kept."""
    return RENDERED / f"{values.name.removesuffix('-values.yaml')}.yaml"


def header() -> str:
    """The first line of what is kept."""
    return f"# Rendered by `make chart`, of the chart {digest()}.\n"


def documents(text: str) -> list[dict[str, Any]]:
    """The Kubernetes objects in a text."""
    return [document for document in yaml.safe_load_all(text) if document]


def objects(values: Path, kind: str = "") -> list[dict[str, Any]]:
    """What the chart makes with these values, of one kind or of all."""
    return [each for each in documents(kept(values).read_text()) if kind in {"", each["kind"]}]


def render(helm: str, *values: Path, settings: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Have helm render the chart.

    Args:
        helm: The program.
        values: Files of values, of which later ones count.
        settings: Single values, such as `keda.enabled=true`.
    """
    options = [f"--values={path}" for path in values] + [f"--set={setting}" for setting in settings]
    command = [helm, "template", "punchstream", str(CHART), "--namespace=hr", f"--kube-version={KUBERNETES}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main(helm: str) -> None:
    """Write what helm renders, where it is kept."""
    RENDERED.mkdir(exist_ok=True)
    for values in VALUES:
        answer = render(helm, values)
        if answer.returncode:
            sys.exit(answer.stderr)
        lines = [line.rstrip() for line in answer.stdout.splitlines()]
        kept(values).write_text(header() + "\n".join(line for line in lines if line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
