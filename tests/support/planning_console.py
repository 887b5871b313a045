"""A console beside an ERPNext in memory: it works plans out, stores what is agreed to, and runs these jobs."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import yaml
from console_site import Browser, ConsoleSite, csrf_of
from httpx import Response
from late_site import ERPNEXT, ZONE
from ledger_story import Story

from attendance.records.activity import Activity
from attendance.records.console_user import Role
from attendance.records.job import JobAsked, decode
from attendance.registry import Registry
from operations.console_users import add_token
from operations.job_runner import JobRunner, plan_doers
from operations.plan_jobs import PlanSource


class PlanningConsole(ConsoleSite):
    """A console that knows ERPNext. Its fleet has E1 of the site `jeddah` too."""

    def __init__(self, directory: Path, written: Story) -> None:
        super().__init__(directory, written)
        file = directory / "devices.yaml"
        entry = {"device_id": "E1", "site": "jeddah", "timezone": "Asia/Riyadh", "token_sha256": "0" * 64}
        file.write_text(yaml.safe_dump([*yaml.safe_load(file.read_text()), entry]))
        self.registry = Registry(file)
        self.context = replace(self.context, registry=self.registry, erpnext=ERPNEXT)
        self.app.context = self.context
        self.log.add("site", ZONE.key, ZONE.encode())

    def token(self, role: Role, sites: tuple[str, ...] | None = None) -> dict[str, str]:
        """The headers of a program."""
        _, text = asyncio.run(add_token(self.log, f"{role} {sites}", "root", role=role, sites=sites))
        self.users.apply(self.log.records("console_users")[-1])
        return {"authorization": f"Bearer {text}"}

    def run_jobs(self) -> None:
        """Do what was agreed to, and have the console know of it."""
        source = PlanSource(self.log, ERPNEXT, lambda: self.registry)
        asyncio.run(JobRunner(self.log, _not_read, plan_doers(source)).run_all())
        for record in self.log.records("jobs"):
            self.context.jobs.learn(record)

    def asked(self) -> list[JobAsked]:
        """The jobs that are stored."""
        records = [decode(each.key, each.value) for each in self.log.records("jobs")]
        return [each for each in records if isinstance(each, JobAsked)]

    def acts(self) -> list[tuple[str, str, Mapping[str, str], str | None, str | None]]:
        """What is written down of what people did."""
        found = [Activity.decode(each.value) for each in self.log.records("console_activity")]
        return [(each.action, each.state, each.about, each.note, each.result) for each in found]


def _not_read(_: object) -> NoReturn:
    raise AssertionError("no job is about letters")


def look(browser: Browser, address: str, **wanted: str) -> Response:
    """Have somebody's plan worked out, by the form at an address."""
    return browser.post(f"{address}/look", data={"csrf": csrf_of(browser.get(address)), **wanted})


def agree(browser: Browser, plan: Response, act: str, note: str) -> Response:
    """Agree to the plan that a page shows."""
    return browser.post(f"{plan.url.path}/{act}", data={"csrf": csrf_of(plan), "note": note})
