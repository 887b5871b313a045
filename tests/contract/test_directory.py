"""The directory's reader on the stand-in: what the site says of all employees in one answer."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from attendance.erpnext import ErpnextClient
from attendance.settings import ErpnextSettings
from producers.directory.employees import EmployeeReader, People, Summary
from sandbox.erpnext.server import ErpnextStandIn

NAMES = ("HR-EMP-1", "HR-EMP-2", "محمد")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    log_file: Path = tmp_path_factory.mktemp("erpnext") / "stand-in.log"
    with ErpnextStandIn(log_file=log_file) as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn) -> ErpnextStandIn:
    server.reset()
    server.employees({"name": name} for name in NAMES)
    server.employees([{"name": NAMES[0], "modified": "2031-01-01 00:00:00.000000"}])
    return server


@pytest.fixture
def reader(site: ErpnextStandIn) -> Iterator[EmployeeReader]:
    settings = ErpnextSettings(
        url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=5, _env_file=None
    )
    client = ErpnextClient(settings)
    yield EmployeeReader(client)
    client.close()


def seen(reader: EmployeeReader) -> tuple[Summary, People]:
    async def scene() -> tuple[Summary | None, People]:
        return await reader.summary(), await reader.everyone()

    summary, people = asyncio.run(scene())
    assert summary is not None
    assert summary.whole
    return summary, people


def test_the_summary_of_the_site_is_that_of_its_employees(reader: EmployeeReader) -> None:
    summary, people = seen(reader)
    assert people.keys() == set(NAMES)
    assert summary.fits(people)


@pytest.mark.parametrize("change", ["renamed", "merged", "deleted", "replaced", "changed"])
def test_no_change_leaves_the_summary_as_it_was(site: ErpnextStandIn, reader: EmployeeReader, change: str) -> None:
    before, people = seen(reader)
    match change:
        case "renamed":
            site.rename_employee(NAMES[1], "HR-EMP-9")
        case "merged":
            site.rename_employee(NAMES[1], NAMES[0], merge=True)
        case "deleted":
            site.delete_employee(NAMES[1])
        case "replaced":
            site.delete_employee(NAMES[1])
            site.employees([{"name": NAMES[1]}])
        case "changed":
            site.employees([{"name": NAMES[0], "status": "Left"}])
    after, others = seen(reader)
    assert after != before
    assert not after.fits(people)
    assert after.fits(others)
