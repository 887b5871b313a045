"""The topics that others may read, as a data contract of the Open Data Contract Standard."""

from collections.abc import Mapping
from typing import Any, Final

from attendance.contract.products import PRODUCTS, Product
from attendance.contract.schemas import schema
from attendance.personal_data import HOLDINGS
from attendance.topics import DAY_MS, FOREVER, TABLE, Name, topic_configs

PAGE: Final = "docs/reading-the-raw-topic.md"
_QUALITY: Final[Mapping[Name, tuple[tuple[str, str], ...]]] = {
    "raw": (
        ("completeness", "If a terminal got its acknowledgement, its punch is here: every in-sync replica has it."),
        ("uniqueness", "A punch may be here several times. Count distinct event_id, never records."),
        ("accuracy", "Times are not judged here: event_time may be null, years ago, or in the future."),
        ("timeliness", "A terminal that was offline delivers late. received_at minus event_time says how late."),
    ),
    "checkins": (
        ("uniqueness", "At least once. Records of one punch have the same event_id."),
        ("accuracy", "event_time was plausible and the employee known when the punch was decided."),
    ),
    "dropped": (("consistency", "kept_event_id is that of a record of the raw topic, in the same partition."),),
    "deliveries": (("consistency", "One of created, already_there or replaced for each check-in that was delivered."),),
}
_CLASSIFIED: Final = {"device_user_id": "personal", "employee": "personal", "payload": "personal", "event": "personal"}


def contract(version: str, retention_days: int) -> dict[str, Any]:
    """The contract with the defaults of an installation. Its owner fills in what only they know.

    Args:
        version: That of Punchstream.
        retention_days: The default of `KAFKA_RETENTION_DAYS`.
    """
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "urn:punchstream:data-contract:attendance",
        "name": "Attendance punches",
        "version": version,
        "status": "draft",
        "domain": "human resources",
        "description": {
            "purpose": "Every attendance punch as it arrived, and what became of it.",
            "usage": f"A consumer group of your own; write by event_id, then commit. {PAGE} has code.",
            "limitations": "Personal data: where a person was, and when. No copy is to outlive the purpose that it was"
            " made for. Erasing a person here erases no copy (docs/privacy.md). No topic says that a day is complete.",
        },
        "team": {
            "name": "owner to be named",
            "description": "A placeholder. Whoever runs an installation names its owner here, and then sets the"
            " status to active. Punchstream itself promises no time within which records arrive.",
        },
        "roles": [
            {
                "role": "reader",
                "access": "read",
                "description": "May read the topics of this contract, and has consumer groups of its own name.",
            }
        ],
        "servers": [
            {
                "server": "kafka",
                "type": "kafka",
                "host": "kafka:9092",
                "format": "json",
                "description": "A placeholder: KAFKA_BOOTSTRAP_SERVERS of the installation.",
            }
        ],
        "schema": [_object(name, product) for name, product in PRODUCTS.items()],
        "slaProperties": [_retention(name, retention_days) for name in PRODUCTS],
    }


def _object(name: Name, product: Product) -> dict[str, Any]:
    topic = TABLE[name]
    described = {
        "name": name,
        "physicalName": f"attendance.{topic.suffix}",
        "logicalType": "object",
        "physicalType": "topic",
        "description": f"{topic.holds[0].upper()}{topic.holds[1:]}. Key: {topic.key}."
        f" Of a person: {HOLDINGS[name].holds}.",
        "dataGranularityDescription": f"One record is one {product.title}.",
        "authoritativeDefinitions": [{"type": "implementation", "url": f"docs/schemas/{topic.suffix}.json"}],
    }
    if product.records and not product.in_headers:
        values = schema(name)
        # Where a topic has two types of records, the first is the one that it is for.
        shape = values if "properties" in values else values["$defs"][product.records[0].__name__]
        described["properties"] = [
            _property(field, of, is_required=field in shape["required"]) for field, of in shape["properties"].items()
        ]
    rules = [{"type": "text", "dimension": kind, "description": rule} for kind, rule in _QUALITY.get(name, ())]
    return described | ({"quality": rules} if rules else {})


def _property(name: str, of: Mapping[str, Any], *, is_required: bool) -> dict[str, Any]:
    of, may_be_null = _followed(of)
    described: dict[str, Any] = {
        "name": name,
        "logicalType": _logical(of),
        "physicalType": "JSON",
        # In ODCS: it is there, and not null.
        "required": is_required and not may_be_null,
        "description": of["description"],
    }
    if name in _CLASSIFIED:
        described["classification"] = _CLASSIFIED[name]
    if described["required"] and name == "event_id":
        rule = {"type": "library", "metric": "nullValues", "mustBe": 0, "description": "Every record has it."}
        described["quality"] = [rule]
    return described


def _followed(of: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """A field's schema, of an object where it refers to one, and whether it may be null."""
    if "anyOf" in of or "$ref" in of:
        return {"type": "object", "description": of["description"]}, "anyOf" in of
    if "enum" in of:
        return {**of, "type": "string"}, None in of["enum"]
    return of, "null" in of["type"]


def _logical(of: Mapping[str, Any]) -> str:
    types = of["type"] if isinstance(of["type"], list) else [of["type"]]
    of_text = {"date-time": "timestamp", "date": "date"}.get(of.get("format", ""), "string")
    return of_text if "string" in types else str(types[0])


def _retention(name: Name, retention_days: int) -> dict[str, Any]:
    topic = TABLE[name]
    milliseconds = int(topic_configs(topic, retention_days)["retention.ms"])
    if milliseconds == FOREVER:
        said: dict[str, Any] = {"value": "the newest record of each key", "description": "Compacted within 7 days."}
    else:
        said = {
            "value": milliseconds // DAY_MS,
            "unit": "d",
            "description": f"{topic.retention_setting}, up to 7 days more.",
        }
    return {"property": "retention", "element": name, **said}
