"""A bench of Frappe with a site for trying things out, which `make desk` names. None of it is made here."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from eventually import eventually

from sandbox.ports import free_port
from sandbox.process import ChildProcess

DESK: Final = Path(__file__).parents[2] / "desk"
BENCH_SIDE: Final = "biometric_integration.tests"  # what imports Frappe is the app's, under its licence
DESK_SCRIPT: Final = "desk.bundle.js"
METHOD: Final = re.compile(r'"(?:GET|POST) /api/method/([\w.]+)')


class FrappeBench:
    """Commands and questions to one site.

    Args:
        folder: Of the bench, with `env`, `apps` and `sites`.
        site: The name of the site.
    """

    def __init__(self, folder: Path, site: str) -> None:
        self.sites = folder / "sites"
        self.site = site
        self._bin = folder / "env" / "bin"
        # The bench has packages of its own. The app is that of this checkout, wherever the bench has it from.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._environment = outside | {"PYTHONPATH": str(DESK)}

    def frappe(self, *arguments: str, timeout: float = 600) -> "subprocess.CompletedProcess[str]":
        """Run what `bench --site SITE` would."""
        command = [self._bin / "python", "-m", "frappe.utils.bench_helper", "frappe", "--site", self.site, *arguments]
        return self._run(command, timeout=timeout)

    def ask(self, question: str, **arguments: Any) -> Any:
        """The answer to one question of `in_site` among the app's tests."""
        command = [self._bin / "python", "-m", f"{BENCH_SIDE}.in_site", self.site, question]
        answered = self._run(command, given=json.dumps(arguments), timeout=120)
        assert answered.returncode == 0, answered.stderr
        return json.loads(answered.stdout)

    def lacks(self) -> str | None:
        """What the desk needs in a browser and the bench has not built, in a line, or None."""
        listed = self.sites / "assets" / "assets.json"
        built: dict[str, str] = json.loads(listed.read_text()) if listed.exists() else {}
        missing = [name for name, path in built.items() if not (self.sites / path.lstrip("/")).exists()]
        if DESK_SCRIPT not in built:
            missing.append(DESK_SCRIPT)
        return f"the desk needs `bench build`: {missing[0]} is not in {listed.parent}" if missing else None

    @contextmanager
    def served(self, directory: Path) -> Iterator["ServedSite"]:
        """The site behind gunicorn on a port of its own.

        Args:
            directory: For its log.
        """
        port, log = free_port(), directory / "gunicorn.log"
        # Threads as `bench setup production` has them; the log has a line for each request.
        command = [
            *(self._bin / "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4"),
            *("--timeout", "120", "--access-logfile", "-", f"{BENCH_SIDE}.served_site:application"),
        ]
        with ChildProcess(command, log_file=log, env=self._environment | {"SITE": self.site}, cwd=self.sites):
            served = ServedSite(f"http://127.0.0.1:{port}", log)
            ping = f"{served.url}/api/method/ping"
            eventually(lambda: httpx.get(ping, timeout=30).is_success, within=90, wanted=f"{self.site} answers")
            yield served

    def _run(self, command: list[Any], *, given: str = "", timeout: float) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.sites,
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


class ServedSite:
    """A site that answers.

    Attributes:
        url: Where.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def methods(self) -> Counter[str]:
        """How often each method was asked for by its path."""
        return Counter(METHOD.findall(self._log.read_text()))


class SiteUser:
    """A user of a served site, by key and secret."""

    def __init__(self, site: ServedSite, keys: dict[str, str]) -> None:
        self.keys = keys
        self._client = httpx.Client(
            base_url=site.url, headers={"Authorization": f"token {keys['key']}:{keys['secret']}"}, timeout=60
        )

    def request(self, method: str, path: str, **more: Any) -> Any:
        """What the site answers, which has to be a success."""
        response = self._client.request(method, path, **more)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text[:2000]}"
        return response.json()

    def create(self, doctype: str, **fields: Any) -> dict[str, Any]:
        """The new document."""
        created = self.request("POST", f"/api/resource/{doctype}", json=fields)["data"]
        assert isinstance(created, dict)
        return created

    def change(self, doctype: str, name: str, **fields: Any) -> None:
        """Save a document with other values."""
        self.request("PUT", f"/api/resource/{doctype}/{name}", json=fields)

    def get(self, doctype: str, name: str) -> dict[str, Any]:
        """A document."""
        found = self.request("GET", f"/api/resource/{doctype}/{name}")["data"]
        assert isinstance(found, dict)
        return found

    def delete(self, doctype: str, name: str) -> None:
        """Delete a document."""
        self.request("DELETE", f"/api/resource/{doctype}/{name}")

    def forget(self, doctype: str, name: str) -> None:
        """Delete a document, if it is still there and nothing links to it."""
        self._client.delete(f"/api/resource/{doctype}/{name}")

    def find(self, doctype: str, filters: list[Any], fields: list[str]) -> list[dict[str, Any]]:
        """The documents that filters leave."""
        asked = {"doctype": doctype, "filters": filters, "fields": fields, "limit_page_length": 0}
        found = self.request("POST", "/api/method/frappe.client.get_list", json=asked)["message"]
        assert isinstance(found, list)
        return found

    def close(self) -> None:
        """Close its connections."""
        self._client.close()
