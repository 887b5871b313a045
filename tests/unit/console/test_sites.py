"""Whoever has sites sees nothing of another one, on whatever page and by whatever read of the API, now and later.

Each thing of the other site has a text of its own. Every read is asked plainly, and for each of the other site's things
by its name. An answer may repeat the name that it was asked for, and no other text.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from console_routes import Way, ways
from console_site import PASSWORD, Browser, story
from different_site import DifferentSite
from late_site import AT, LateSite, delivery
from ledger_story import START, event
from msgspec.structs import replace
from passwords import QUICK
from planning_console import PlanningConsole

from attendance.errors import Reason
from attendance.records.console_user import ConsoleUser, Role
from attendance.records.user_map import Employee, IgnoredUser, UserMapping
from ledger.reconciliations import Reconciliations
from operations import activity, correction_plans, jobs, late_plans
from operations.dead_letters import Selection
from operations.jobs import Job
from operations.reconcile import Reconciliation

SITE, DEVICE = "jeddah", "E1"
FAR: Mapping[str, str] = {
    "number": "far-77",
    "mapped": "far-78",
    "employee": "FAR-EMP",
    "document": "FAR-CHK-1",
    "firmware": "far-firmware",
    "mapping": "FAR-MAPPED",
    "visitor": "a far visitor",
    "job": "a far job",
    "act": "a far act",
    "night": "a far night",
    "late": "FAR-LATE",
    "different": "FAR-DIFFERENT",
}
"""By thing of the other site the text that only it has."""
LETTER, PUNCH, JOB = "0:1", replace(event("far-76", 9, DEVICE), site=SITE), "fa" * 8
DAY = date(2026, 3, 2)
NAMED: Mapping[str, tuple[str, ...]] = {
    "site": (SITE,),
    "device": (DEVICE,),
    "user": (FAR["number"], "far-76"),
    "number": (FAR["number"], "1"),
    "employee": (FAR["employee"],),
    "event_id": (PUNCH.event_id,),
    "q": (DEVICE, "far"),
    "find": ("FAR",),
    "day": (str(DAY),),
    "first": ("2026-01-01",),
    "last": ("2026-12-31",),
    "first_day": ("2026-01-01",),
    "reason": (Reason.CLOCK_SKEW,),
    "outcome": ("delivered", "waiting"),
}
"""What a query may name of the other site."""
IDS: Mapping[str, str] = {
    "device_id": DEVICE,
    "letter_id": LETTER,
    "event_id": PUNCH.event_id,
    "job_id": JOB,
    "plan_id": "1",
    "upload_id": "1",
}
"""What an address may name."""


class Site(PlanningConsole):
    """A console over two sites, of which the other has one of everything."""

    def __init__(self, directory: Path) -> None:
        written = story()
        written.deliver(written.checkin(written.raw(PUNCH), FAR["employee"]), FAR["document"])
        written.wait(written.raw(replace(event(FAR["number"], 10, DEVICE), site=SITE)))
        written.fail(written.raw(replace(event("far-79", 11, DEVICE), site=SITE)), Reason.CLOCK_SKEW)
        written.report(DEVICE, 3, firmware=FAR["firmware"])
        super().__init__(directory, written)
        for (name, _), records in written.log.items():
            self.log.put(name, *records)
        self.clock.at = AT + timedelta(hours=1)
        Reconciliations(self.database).save(SITE, DAY, Reconciliation([], [FAR["night"]]), START)
        self._decide()
        self._act()
        said = delivery(FAR["late"], DEVICE)
        self.log.add("deliveries", said.key, said.encode(), timestamp=int(AT.timestamp() * 1000))

    def _decide(self) -> None:
        self.context.people.caught_up.set()
        said = {"at": START, "by": "root"}
        for entry in (
            Employee(FAR["mapping"], "Active"),
            UserMapping(f"site:{SITE}", FAR["mapped"], FAR["mapping"], "console", **said),
            IgnoredUser(f"device:{DEVICE}", "9", "ignored", note=FAR["visitor"], **said),
            UserMapping("*", "far-76", FAR["different"], "csv"),
            Employee(FAR["different"], "Active"),
        ):
            self.context.people.learn(self.log.add("user_map", entry.key, entry.encode()))

    def _act(self) -> None:
        async def act() -> None:
            wanted = Selection(devices=frozenset((DEVICE,)))
            asked = replace(await jobs.new_job(self.log, "replay_letters", wanted, "root", FAR["job"]), job_id=JOB)
            self.context.jobs.put(Job(asked))
            async with activity.recorded(self.log, "root", "console", "device.pause", {"device": DEVICE}, FAR["act"]):
                pass

        asyncio.run(act())

    def account(self, role: Role, sites: tuple[str, ...] | None) -> Browser:
        self.put(ConsoleUser(role, QUICK.hash(PASSWORD), START, "root", role=role, sites=sites))
        browser = self.browser()
        assert browser.post("/sign-in", data={"name": role, "password": PASSWORD}).status_code == 200
        return browser


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    console = Site(tmp_path)
    different = DifferentSite(PUNCH, employee=FAR["employee"])
    different.zone = "Asia/Riyadh"
    monkeypatch.setattr(late_plans, "ErpnextClient", lambda _: LateSite(FAR["late"]))
    monkeypatch.setattr(correction_plans, "ErpnextClient", lambda _: different)
    monkeypatch.setattr("operations.day_in_erpnext.ErpnextClient", lambda _: different)
    # Whether the ledger lacks what only the topics have here is not asked.
    monkeypatch.setattr("console.actions.fresh.SECONDS", 0.0)
    yield console
    console.database.close()


def reads(site: Site, role: Role) -> Iterator[tuple[Way, str]]:
    """Every read that a role may ask for: plainly, for each of the other site's things, and for all of them at once."""
    for way in ways(site.app.fastapi):
        if way.method != "GET" or not way.may(role) or way.path.endswith(("/openapi.json", "/openid", "/return")):
            continue
        address = re.sub(r"\{(\w+)\}", lambda found: IDS[found[1]], way.path)
        one = [{name: value} for name in way.queries for value in NAMED.get(name, ())]
        every = {name: NAMED[name][0] for name in way.queries if name in NAMED}
        required = {name: every[name] for name in ("first", "last", "day", "user", "site") if name in every}
        for query in {
            urlencode(each): each for each in ({}, required, every, *(required | each for each in one))
        }.values():
            yield way, f"{address}?{urlencode(query)}" if query else address


def seen(site: Site, role: Role, sites: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    """Each text of the other site that somebody is shown unasked, with where."""
    browser, headers = site.account(role, sites), site.token(role, sites)
    for way, address in reads(site, role):
        answer = browser.get(address, headers=headers if way.is_of_api else {})
        assert answer.status_code < 500, (address, answer.text)
        for text in {*FAR.values(), PUNCH.event_id, DEVICE, SITE}:
            if text not in address and re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", answer.text):
                yield text, address


def test_whoever_sees_every_site_is_shown_each_of_these_texts(site: Site) -> None:
    found = {text for text, _ in seen(site, "administrator", None)}
    assert found >= set(FAR.values())


@pytest.mark.parametrize("role", ["hr", "it", "viewer"])
def test_whoever_has_sites_is_shown_nothing_of_another_one(site: Site, role: Role) -> None:
    assert list(seen(site, role, ("s",))) == []
