"""Fixtures of the tests on a real site. Without FRAPPE_BENCH no test of this folder is collected."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from eventually import eventually
from frappe_bench import FrappeBench, ServedSite, SiteUser
from site_pipeline import SitePipeline, site_pipeline

if "FRAPPE_BENCH" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def bench() -> FrappeBench:
    """The bench of FRAPPE_BENCH, and its site SITE."""
    return FrappeBench(Path(os.environ["FRAPPE_BENCH"]).resolve(), os.environ["SITE"])


@pytest.fixture(scope="session")
def prepared(bench: FrappeBench) -> dict[str, Any]:
    """What `in_site.prepare` says of a site that these tests may use."""
    answer: dict[str, Any] = bench.ask("prepare")
    if "problem" in answer:
        pytest.exit(f"{bench.site}: {answer['problem']}", returncode=2)
    return answer


@pytest.fixture(scope="session")
def site(
    bench: FrappeBench, prepared: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedSite]:
    """The site, served by gunicorn for all tests."""
    with bench.served(tmp_path_factory.mktemp("gunicorn")) as served:
        yield served


@pytest.fixture(scope="session")
def administrator(site: ServedSite, prepared: dict[str, Any]) -> Iterator[SiteUser]:
    """A System Manager who is an HR Manager, too."""
    user = SiteUser(site, prepared["administrator"])
    yield user
    user.close()


@pytest.fixture(scope="session")
def company(prepared: dict[str, Any]) -> str:
    """A company of the site."""
    return str(prepared["company"])


@pytest.fixture(scope="module")
def make(administrator: SiteUser, company: str) -> Iterator["Maker"]:
    """Makes documents, which are deleted after the tests of the module."""
    with ExitStack() as stack:
        yield Maker(administrator, company, stack.callback)


@pytest.fixture(scope="module")
def pipeline(
    site: ServedSite, prepared: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SitePipeline]:
    """Every stage, with the rights of the API user."""
    directory = tmp_path_factory.mktemp("up")
    with site_pipeline(directory, site.url, prepared["api"], DIRECTORY_LIVE_INTERVAL="30") as running:
        yield running


@pytest.fixture(scope="module")
def console_asked(pipeline: SitePipeline, administrator: SiteUser) -> Iterator[None]:
    """The raw log of the desk asks the console of the pipeline."""
    made = pipeline.command("console", "token", "add", "desk", "--role", "administrator")
    (token,) = re.findall(r"punchstream_[\w-]+", made.stdout)
    listing, given = f"{pipeline.console}/api/v1/punches", {"Authorization": f"Bearer {token}"}
    eventually(lambda: httpx.get(listing, headers=given).is_success, within=60, wanted="the console knows the token")
    settings = ("Punchstream Settings", "Punchstream Settings")
    administrator.change(*settings, console_url=pipeline.console, api_token=token)
    yield
    administrator.change(*settings, console_url="", api_token="")


class Maker:
    """Makes documents of names that no other run has.

    Attributes:
        run: What is in each name of this run.
    """

    def __init__(self, user: SiteUser, company: str, at_the_end: Callable[..., Any]) -> None:
        self.run = uuid4().hex[:6]
        self.user = user
        self._company = company
        self._at_the_end = at_the_end

    def document(self, doctype: str, **fields: Any) -> str:
        """The name of a new document."""
        name = str(self.user.create(doctype, **fields)["name"])
        self.goes_at_the_end(doctype, name)
        return name

    def goes_at_the_end(self, doctype: str, name: str) -> None:
        """Have a document deleted after the tests of the module, whoever makes it."""
        self._at_the_end(self.user.forget, doctype, name)

    def employee(self, first_name: str, **fields: Any) -> str:
        """The name of a new employee, who has been there for years."""
        given = {"first_name": f"{first_name} {self.run}", "company": self._company, "gender": "Female"}
        given |= {"date_of_birth": "1990-01-01", "date_of_joining": "2020-01-01", "status": "Active"}
        return self.document("Employee", **given | fields)

    def device(self, name: str, token: str, **fields: Any) -> str:
        """The id of a new device that pushes, of a site of this run, with a clock in UTC."""
        given = {"device_id": f"{name}-{self.run}", "site": f"site-{self.run}", "timezone": "UTC", "auth_token": token}
        return self.document("Biometric Device", **given | fields)
