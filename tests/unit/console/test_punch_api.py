"""What the API says of punches, days of devices and how things are, to whom, and that its document says the same."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from console_site import NAME, ConsoleSite
from ledger_story import START, START_MS, event

from console.api.app import document
from ledger.punches import OUTCOMES
from ledger.reconciliations import Reconciliations
from operations.console_users import add_token
from operations.reconcile import DeviceDay, Gap, Reconciliation
from punchstream import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "console-api.yaml"


def asking(site: ConsoleSite, role: Any = "viewer", sites: Sequence[str] | None = None) -> Any:
    """A program with a token."""
    token, text = asyncio.run(add_token(site.log, "payroll", NAME, role=role, sites=sites))
    site.users.apply(site.log.records("console_users")[-1])
    assert token.sites is None or list(token.sites) == sites
    program = site.browser()

    def get(path: str, **query: object) -> Any:
        return program.get(f"/api/v1/{path}", params=query, headers={"authorization": f"Bearer {text}"})

    return get


def every(get: Any, path: str, **query: object) -> list[Any]:
    found: list[Any] = []
    for _ in range(100):
        answer = get(path, **query).json()
        assert len(answer["items"]) <= int(str(query.get("most", 100)))
        found += answer["items"]
        if answer["next"] is None:
            return found
        query["after"] = answer["next"]
    raise AssertionError("the list has no end")


def test_punches_are_listed_page_by_page_the_newest_first(site: ConsoleSite) -> None:
    get = asking(site)
    listed = every(get, "punches", most=2)
    assert listed == every(get, "punches")
    assert [(each["outcome"], each["device_id"], each["employee"]) for each in listed] == [
        ("undelivered", "D1", "EMP-2"),
        ("dead_lettered", "D1", None),
        ("waiting", "D1", None),
        ("dropped", "D2", None),
        ("delivered", "D1", "EMP-1"),
    ]
    assert listed[4]["event_time"] == "2026-03-02T08:00:00Z"
    assert listed[4]["document"] == "CHK-1"
    assert listed[2]["reason"] == "unmapped_user"
    assert get("punches").json()["as_of"] is not None


@pytest.mark.parametrize(
    ("query", "users"),
    [
        ({"employee": "EMP-1"}, ["1"]),
        ({"device": "D2"}, ["1"]),
        ({"site": "s", "outcome": "waiting"}, ["77"]),
        ({"site": "elsewhere"}, []),
        ({"device_user_id": "1"}, ["1", "1"]),
        ({"device_user_id": "1", "device": "D2"}, ["1"]),
        ({"device_user_id": "77", "outcome": "waiting"}, ["77"]),
        ({"device_user_id": "77", "employee": "EMP-1"}, []),
        ({"device_user_id": "01"}, []),
        ({"employee": "' or 1=1 --"}, []),
        ({"first_day": "2026-03-02", "last_day": "2026-03-02", "zone": "Asia/Riyadh"}, ["2", "2", "77", "1", "1"]),
        ({"first_day": "2026-03-03"}, []),
        ({"last_day": "2026-03-01"}, []),
        ({"last_day": "2026-03-01", "zone": "Pacific/Honolulu"}, ["77", "1", "1"]),
    ],
)
def test_punches_are_found_and_counted_by_what_is_asked(
    site: ConsoleSite, query: dict[str, str], users: list[str]
) -> None:
    get = asking(site)
    assert [each["device_user_id"] for each in every(get, "punches", **query)] == users
    counted = get("punches/count", **query).json()
    assert sum(counted["outcomes"].values()) == len(users)
    assert counted["next"] is None


def test_a_punch_is_opened_with_what_became_of_each_of_its_records(site: ConsoleSite) -> None:
    found = asking(site)(f"punches/{event('1', 8).event_id}").json()
    assert [(each["outcome"], each["document"]) for each in found] == [("delivered", "CHK-1")]
    assert [each["name"] for each in found[0]["milestones"]] == ["received", "stored", "decided", "delivered"]
    assert found[0]["milestones"][0]["after"] is None


def test_what_was_sent_of_a_punch_is_shown_to_whoever_may_mend(site: ConsoleSite) -> None:
    record = site.log.add("raw", event("1", 8).key, event("1", 8).encode(), timestamp=START_MS)
    assert (record.partition, record.offset) == (0, 0), "the place that the ledger has"
    path = f"punches/{event('1', 8).event_id}/sent"

    (found,) = asking(site, "hr")(path).json()
    assert found == {"kafka_partition": 0, "kafka_offset": 0, "raw_event": json.loads(record.value or b"")}
    assert asking(site, "viewer")(path).status_code == 403
    assert asking(site, "hr", ["elsewhere"])(path).status_code == 404
    assert asking(site, "hr")(f"punches/{'0' * 32}/sent").status_code == 404
    # Kafka has let go of this one, and the ledger has not.
    assert asking(site, "hr")(f"punches/{event('77', 9).event_id}/sent").json() == []


def test_a_token_sees_its_sites_only(site: ConsoleSite) -> None:
    here, elsewhere = asking(site, sites=["s", "t"]), asking(site, "it", ["elsewhere"])
    path = f"punches/{event('1', 8).event_id}"
    assert len(every(here, "punches")) == 5
    assert here(path).status_code == 200
    for query in ({}, {"site": "s"}, {"device": "D1"}, {"employee": "EMP-1"}):
        assert every(elsewhere, "punches", **query) == []
        assert elsewhere("punches/count", **query).json()["outcomes"] == {}
    assert elsewhere(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("punches", {"most": "0"}),
        ("punches", {"most": "501"}),
        ("punches", {"after": "no token"}),
        ("punches", {"after": "W10"}),
        ("punches", {"outcome": "lost"}),
        ("punches", {"first_day": "yesterday"}),
        ("punches", {"last_day": "9999-12-31"}),
        ("punches", {"first_day": "2026-03-02", "zone": "../../etc/passwd"}),
        ("punches", {"first_day": "2026-03-02", "zone": "Mars/Olympus"}),
        ("punches", {"employe": "EMP-1"}),
        ("punches/count", {"after": "x"}),
        ("punches/1", {}),
        ("device-days", {"first_day": "x"}),
        ("device-days", {"after": "x"}),
        ("overview", {"days": "32"}),
        ("overview", {"zone": "Mars/Olympus"}),
    ],
)
def test_what_cannot_be_asked_is_said_so(site: ConsoleSite, path: str, query: dict[str, str]) -> None:
    answer = asking(site)(path, **query)
    assert answer.status_code == 422
    assert answer.json()["error"]


def day_of(device: str, of_site: str) -> DeviceDay:
    gaps = [Gap("waiting", 2, ["a", "b"], "2 punches wait", "map them")]
    counts = (5, 4, 2, 0, 0, 0, 0, 0, 2, 0, 0, None)
    return DeviceDay(device, of_site, START.date(), "Asia/Riyadh", 5, START, *counts, gaps)


def test_days_of_devices_are_listed_for_the_sites_of_a_token(site: ConsoleSite) -> None:
    kept = Reconciliations(site.database)
    for name in ("s", "t"):
        found = Reconciliation([day_of(f"{name}-{number}", name) for number in range(3)])
        kept.save(name, START.date(), found, START + timedelta(days=1))
    every_site, of_t = asking(site), asking(site, sites=["t"])
    assert len(every(every_site, "device-days", most=2)) == 6
    assert [each["device_id"] for each in every(of_t, "device-days")] == ["t-0", "t-1", "t-2"]
    assert every(of_t, "device-days", site="s") == []
    [one] = every(every_site, "device-days", device="s-1", only_gaps=True, first_day="2026-03-02")
    assert (one["day"], one["waiting"], one["missing"], one["gaps"]) == ("2026-03-02", 2, 2, ["waiting"])
    assert one["in_erpnext"] is None


def test_the_overview_says_how_things_are(site: ConsoleSite) -> None:
    found = asking(site)("overview", days=2, zone="Asia/Riyadh").json()
    assert found["devices"] == {"silent": 1, "never": 2}
    assert (found["numbers"], found["waiting"], found["letters"]) == (1, 1, 1)
    outcomes = {"delivered": 1, "dropped": 1, "waiting": 1, "dead_lettered": 1, "undelivered": 1}
    assert found["days"] == [{"day": "2026-03-01", "outcomes": {}}, {"day": "2026-03-02", "outcomes": outcomes}]
    assert found["as_of"] is not None
    assert len(asking(site)("overview").json()["days"]) == 1


def test_the_overview_is_of_the_sites_of_a_token(site: ConsoleSite) -> None:
    found = asking(site, sites=["elsewhere"])("overview").json()
    assert found["devices"] == {}
    assert (found["numbers"], found["waiting"], found["letters"]) == (0, 0, 0)
    assert [each["outcomes"] for each in found["days"]] == [{}]


def test_whoever_tries_wrong_tokens_has_to_wait_and_nobody_else(site: ConsoleSite) -> None:
    get = asking(site)
    wrong = {"authorization": "Bearer punchstream_0_wrong"}
    answers = [site.browser().get("/api/v1/punches", headers=wrong) for _ in range(6)]
    assert [each.status_code for each in answers] == [401] * 5 + [429]
    assert int(answers[5].headers["retry-after"]) >= 1
    assert get("punches").status_code == 200
    assert site.browser().get("/api/v1/punches").status_code == 401, "without a token nobody has guessed"
    assert site.signed_in().get("/").status_code == 200
    site.clock.at += timedelta(minutes=5)
    assert site.browser().get("/api/v1/punches", headers=wrong).status_code == 401


def test_no_page_of_another_site_may_read_the_api(site: ConsoleSite) -> None:
    get = asking(site)
    assert not [name for name in get("punches").headers if name.startswith("access-control")]
    headers = {"origin": "https://evil.example", "access-control-request-method": "GET"}
    answer = site.browser().get("/api/v1/punches", headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_document_says_what_is_served(site: ConsoleSite) -> None:
    assert site.browser().get("/api/v1/openapi.json").json() == document()
    assert DOCUMENT.read_text() == reference.console_api(), "run make docs"


def test_every_call_has_a_name_and_says_how_it_is_refused() -> None:
    calls = [call for each in document()["paths"].values() for call in each.values()]
    names = [each["operationId"] for each in calls]
    assert len(names) == len(set(names))
    for call in calls:
        assert call["security"]
        assert {"401", "403", "422", "429", "503"} <= set(call["responses"])
    assert set(document()["components"]["schemas"]["Counted"]["properties"]["outcomes"]["propertyNames"]["enum"]) == {
        *OUTCOMES
    }
