"""`docs/asyncapi.yaml` and `docs/data-contract.yaml`: those of the code, and such as tools of their standards can read.

`tests/support/schemas/` has what they use of their standards, and allows nothing else.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from attendance.contract.products import PRODUCTS
from attendance.personal_data import HOLDINGS
from attendance.topics import TABLE
from punchstream import reference

ROOT = Path(__file__).parents[4]
STANDARDS = ROOT / "tests" / "support" / "schemas"
ASYNCAPI: Any = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
CONTRACT: Any = yaml.safe_load((ROOT / "docs" / "data-contract.yaml").read_text())
ADDRESSES = {f"attendance.{TABLE[name].suffix}" for name in PRODUCTS}

Change = Callable[[Any], object]


def standard(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((STANDARDS / f"{name}.json").read_text()))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for each in node.values():
            yield from references(each)


@pytest.mark.parametrize("page", ["asyncapi", "data-contract"])
def test_a_document_is_that_of_the_code(page: str) -> None:
    assert (ROOT / "docs" / f"{page}.yaml").read_text() == reference.PAGES[page](), "run make docs"


@pytest.mark.parametrize(("name", "document"), [("asyncapi", ASYNCAPI), ("odcs", CONTRACT)])
def test_a_document_keeps_to_its_standard(name: str, document: Any) -> None:
    assert [f"{error.json_path}: {error.message}" for error in standard(name).iter_errors(document)] == []


@pytest.mark.parametrize(
    ("name", "document", "change"),
    [
        ("asyncapi", ASYNCAPI, lambda wrong: wrong["channels"]["raw"].pop("address")),
        ("asyncapi", ASYNCAPI, lambda wrong: wrong["channels"]["raw"].update(place="x")),
        ("asyncapi", ASYNCAPI, lambda wrong: wrong["operations"]["send_raw"].update(action="publish")),
        ("asyncapi", ASYNCAPI, lambda wrong: wrong["components"]["messages"]["raw"]["headers"].update(type="array")),
        ("odcs", CONTRACT, lambda wrong: wrong.pop("status")),
        ("odcs", CONTRACT, lambda wrong: wrong["schema"][0]["properties"][0].update(logicalType="text")),
        ("odcs", CONTRACT, lambda wrong: wrong["schema"][0]["quality"][0].update(dimension="luck")),
    ],
)
def test_what_a_standard_does_not_know_is_found(name: str, document: Any, change: Change) -> None:
    wrong = copy.deepcopy(document)
    change(wrong)
    assert not standard(name).is_valid(wrong)


def test_every_reference_leads_to_something() -> None:
    found = list(references(ASYNCAPI))
    assert len(found) > 2 * len(PRODUCTS)
    for each in found:
        if each.startswith("#/"):
            node = ASYNCAPI
            for part in each.removeprefix("#/").split("/"):
                node = node[part]
        else:
            assert (ROOT / "docs" / each).is_file(), each


def test_both_documents_have_every_topic_that_others_may_read() -> None:
    assert {channel["address"] for channel in ASYNCAPI["channels"].values()} == ADDRESSES
    assert {table["physicalName"] for table in CONTRACT["schema"]} == ADDRESSES
    assert {each["element"] for each in CONTRACT["slaProperties"]} == {table["name"] for table in CONTRACT["schema"]}


def test_the_contract_says_what_each_topic_holds_of_a_person_and_which_fields_may_be_null() -> None:
    tables = {table["name"]: table for table in CONTRACT["schema"]}
    for name in PRODUCTS:
        assert HOLDINGS[name].holds in tables[name]["description"]
    fields = {field["name"]: field for field in tables["raw"]["properties"]}
    assert (fields["event_id"]["required"], fields["event_time"]["required"]) == (True, False)
    assert fields["device_user_id"]["classification"] == "personal"
    assert {fields["event_time"]["logicalType"], fields["received_at"]["logicalType"]} == {"timestamp"}
