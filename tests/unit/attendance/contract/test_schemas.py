"""The published schemas against the code, against every record that was ever kept, and against what was published."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_records import GOLDEN, TOPICS, golden
from jsonschema import Draft202012Validator
from schema_changes import breaking_changes

from attendance.contract.meanings import LEFT_OUT, MEANINGS
from attendance.contract.products import PRODUCTS
from attendance.contract.schemas import headers_schema, schema
from attendance.topics import TABLE, Name
from punchstream import reference

ROOT = Path(__file__).parents[4]
SCHEMAS = ROOT / "docs" / "schemas"
PUBLISHED = sorted(SCHEMAS.glob("*/*.json"))
GOLDENS = {path.stem: golden(path.stem) for path in sorted(GOLDEN.glob("*.json"))}
OF_TOPIC = {TOPICS[name]: name for name in PRODUCTS}

Change = Callable[[dict[str, Any]], object]


def validator(of: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(of)
    return Draft202012Validator(of, format_checker=Draft202012Validator.FORMAT_CHECKER)


def instance(name: str) -> Any:
    """What the schema of its topic describes of a golden record."""
    record = GOLDENS[name]
    if PRODUCTS[OF_TOPIC[record.topic]].in_headers:
        return {header: data.decode() for header, data in record.headers}
    return json.loads(record.value)


GOLDENS_TO_READ = [name for name, record in GOLDENS.items() if record.topic in OF_TOPIC]


def test_the_schemas_that_are_kept_are_those_of_the_code() -> None:
    assert {path.name: path.read_text() for path in SCHEMAS.glob("*.json")} == reference.schemas(), "run make docs"


def test_every_topic_that_others_may_read_has_records_in_the_golden_files() -> None:
    assert {OF_TOPIC[GOLDENS[name].topic] for name in GOLDENS_TO_READ} == set(PRODUCTS)


@pytest.mark.parametrize("name", GOLDENS_TO_READ)
def test_every_record_that_was_ever_written_is_valid(name: str) -> None:
    validator(schema(OF_TOPIC[GOLDENS[name].topic])).validate(instance(name))


@pytest.mark.parametrize("name", [name for name in GOLDENS_TO_READ if GOLDENS[name].headers])
def test_the_headers_of_a_record_are_those_of_its_topic(name: str) -> None:
    # Other golden files leave the headers out.
    described = headers_schema(OF_TOPIC[GOLDENS[name].topic])
    headers = {header: data.decode() for header, data in GOLDENS[name].headers}
    validator(described).validate(headers)
    if GOLDENS[name].topic != TOPICS["dead_letters"]:  # those of the original stand there too
        assert headers.keys() <= described["properties"].keys()


def required(of: dict[str, Any], name: str) -> set[str]:
    """What every record like a golden one has, by its schema."""
    choices = [of["$defs"][each["$ref"].removeprefix("#/$defs/")] for each in of.get("anyOf", [])] or [of]
    (required,) = [set(each["required"]) for each in choices if set(each["required"]) <= instance(name).keys()]
    return required


@pytest.mark.parametrize("topic", [name for name, product in PRODUCTS.items() if product.records])
def test_a_record_may_lack_what_some_golden_record_lacks_and_nothing_else(topic: Name) -> None:
    described = schema(topic)
    alike: dict[frozenset[str], list[set[str]]] = {}
    for name in GOLDENS_TO_READ:
        if OF_TOPIC[GOLDENS[name].topic] == topic:
            alike.setdefault(frozenset(required(described, name)), []).append(set(instance(name)))
    for always, keys in alike.items():
        assert always == set.intersection(*keys)


@pytest.mark.parametrize("topic", PRODUCTS)
def test_each_schema_has_an_identity_of_its_own(topic: Name) -> None:
    assert schema(topic)["$id"] == f"urn:punchstream:schema:{TABLE[topic].suffix}"


def test_every_instant_says_its_format() -> None:
    for name in ("event_time", "received_at"):
        assert schema("raw")["properties"][name]["format"] == "date-time"
    check = validator(schema("raw"))
    assert not check.is_valid(instance("raw") | {"event_time": "2026-13-01T05:00:00Z"})
    assert not check.is_valid(instance("raw") | {"received_at": "2026-01-01T05:00:00Z"})


def test_what_a_record_may_lack_is_a_field_of_its_type() -> None:
    for type_, names in LEFT_OUT.items():
        assert names.keys() <= MEANINGS[type_].keys()


def test_every_release_keeps_the_schemas_that_it_published() -> None:
    released = re.findall(r"(?m)^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text())
    kept = {path.parent.name for path in PUBLISHED}
    assert kept >= set(released), "docs/releasing.md says how"
    assert kept


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_schema_breaks_one_that_was_published(path: Path) -> None:
    # A topic that is no longer offered needs a topic of a new version beside it first: nothing is removed.
    current = json.loads((SCHEMAS / path.name).read_text())
    assert breaking_changes(json.loads(path.read_text()), current) == []


def test_a_field_that_a_record_may_lack_can_be_added() -> None:
    new = schema("raw")
    new["properties"]["shelf"] = {"type": "string"}
    assert breaking_changes(schema("raw"), new) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda new: new["properties"].pop("sequence"), "value.sequence: gone"),
        (lambda new: new["required"].remove("sequence"), "value.sequence: no longer in every record"),
        (lambda new: new["required"].append("clock_skew"), "value.clock_skew: older records lack it"),
        (lambda new: new["properties"]["sequence"].update(type="integer"), "value.sequence: of type ['integer']"),
        (lambda new: new["properties"]["clock_skew"].update(type=["integer", "null"]), "value.clock_skew: of type"),
        (lambda new: new["properties"]["event_type"]["enum"].append("BREAK"), "value.event_type: enum"),
        (lambda new: new["properties"]["event_type"]["enum"].remove("OUT"), "value.event_type: enum"),
        (lambda new: new["properties"]["received_at"].pop("pattern"), "value.received_at: pattern"),
        (lambda new: new["properties"]["payload"].pop("additionalProperties"), "value.payload.additionalProperties:"),
        (lambda new: new["$defs"]["Source"]["properties"].pop("adapter"), "value.source.adapter: gone"),
        (lambda new: new["properties"]["site"].update(maxLength=3), "value.site: nothing compares ['maxLength']"),
    ],
)
def test_what_breaks_somebody_is_found(change: Change, said: str) -> None:
    new = copy.deepcopy(schema("raw"))
    change(new)
    (found,) = breaking_changes(schema("raw"), new)
    assert found.startswith(said)
