"""The JSON Schemas of the topics that others may read, made of the types that write and read their records."""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any, Final

from msgspec.json import schema_components

from attendance.contract.meanings import LEFT_OUT, MEANINGS
from attendance.contract.products import PRODUCTS, Product
from attendance.errors import Reason
from attendance.records.attendance_day import AttendanceDay
from attendance.records.dead_letter import HEADERS, NUMBERS, DeadLetter
from attendance.records.outcomes import Dropped, Waiting
from attendance.records.raw_event import RawEvent
from attendance.topics import TABLE, Name

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{name}"
_WORD: Final = {"type": "string", "pattern": "^[a-z_]+$"}
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]+$"}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_WALL_CLOCK: Final = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?$",
}
_NULL: Final = {"type": "null"}
_INSTEAD: Final[Mapping[tuple[type, str], Mapping[str, Any]]] = {
    (Dropped, "reason"): {"enum": [Reason.DUPLICATE, Reason.ERASED, Reason.REPEAT]},
    # Their words are added to; a schema that listed them would be broken by each.
    (Waiting, "reason"): _WORD,
    (AttendanceDay, "reason"): _WORD,
    # JSON Schema has no format for a time without a zone.
    (AttendanceDay, "in_time"): _WALL_CLOCK,
    (AttendanceDay, "out_time"): _WALL_CLOCK,
}
"""What the types do not say, or say too narrowly."""


def schema(name: Name) -> dict[str, Any]:
    """The schema of one topic's values, or of its headers where a record stands in these.

    The identity is a URN: it names the schema, and leads nowhere.

    Args:
        name: One of `PRODUCTS`.
    """
    product, topic = PRODUCTS[name], TABLE[name]
    about = f"of attendance.{topic.suffix}: {topic.holds}."
    document: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": f"urn:punchstream:schema:{topic.suffix}",
        "title": f"Punchstream {product.title}",
        "description": f"The {'headers' if product.in_headers else 'value'} of a record {about}"
        " Fields are only ever added; ignore those that you do not know.",
    }
    if product.in_headers:
        return document | _dead_letter_headers()
    if not product.records:
        return document | {"$comment": "JSON of the vendor, of any form."}
    references, components = schema_components(product.records, ref_template=_REF)
    definitions = {
        type_.__name__: _defined(components[type_.__name__], type_)
        for type_ in MEANINGS
        if type_.__name__ in components
    }
    if len(product.records) > 1:
        return document | {"anyOf": list(references), "$defs": definitions}
    whole = definitions.pop(product.records[0].__name__)
    whole.pop("description")
    return document | whole | ({"$defs": definitions} if definitions else {})


def headers_schema(name: Name) -> dict[str, Any]:
    """The schema of a record's headers, each as the text that its bytes are in UTF-8.

    Args:
        name: One of `PRODUCTS`.
    """
    product = PRODUCTS[name]
    properties: dict[str, Any] = _cloudevents(product) if product.event else {}
    required = list(properties) if product.always_cloudevents else []
    for header, meaning in (product.headers or {}).items():
        properties[header] = {"type": "string", "description": meaning}
    if product.in_headers:
        ours = _dead_letter_headers()
        properties |= ours["properties"]
        required += ours["required"]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _cloudevents(product: Product) -> dict[str, Any]:
    """CloudEvents' attributes in Kafka's binary mode."""
    return {
        "ce_specversion": {"const": "1.0"},
        "content-type": {"const": "application/json"},
        "ce_id": {"type": "string", "minLength": 1, "description": "What the record is about, such as the event_id."},
        "ce_type": {"const": f"punchstream.attendance.{product.event}"},
        "ce_source": {"type": "string", "description": "`/sites/SITE/devices/DEVICE_ID`, or `/shifts/SHIFT`."},
        "ce_time": {**_INSTANT, "description": "When it happened, UTC, milliseconds."},
    }


def _dead_letter_headers() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field, header in HEADERS.items():
        instead = _WORD if field == "reason" else _INSTANT if field == "at" else {"type": "string"}
        instead = _NUMBER if field in NUMBERS else instead
        properties[header] = {"description": MEANINGS[DeadLetter][field], **instead}
    required = [HEADERS[each] for each in ("stage", "reason", "message", "at", "attempts")]
    return {"type": "object", "properties": properties, "required": required}


def _defined(made: Mapping[str, Any], type_: type) -> dict[str, Any]:
    """A definition as msgspec makes it, with what it cannot know."""
    left_out = LEFT_OUT.get(type_, {})
    properties = {
        name: {
            "description": MEANINGS[type_][name],
            **_value(of, _INSTEAD.get((type_, name)), is_nullable=left_out.get(name, True)),
        }
        for name, of in made["properties"].items()
    }
    if type_ is RawEvent:
        # It follows from other fields, so it is no field of the type.
        id_ = {"description": MEANINGS[RawEvent]["event_id"], "type": "string", "pattern": "^[0-9a-f]{32}$"}
        properties = {"event_id": id_, **properties}
    return {
        "description": " ".join(cleandoc(type_.__doc__ or "").split("\n\n")[0].split()),
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in left_out],
    }


def _value(made: Mapping[str, Any], instead: Mapping[str, Any] | None, *, is_nullable: bool) -> dict[str, Any]:
    """What a field may hold, null only where `is_nullable` says so too."""
    choices = made.get("anyOf", [made])
    others = [instead or {key: of for key, of in each.items() if key != "default"} for each in choices if each != _NULL]
    is_nullable = is_nullable and len(others) < len(choices)
    result = dict(others[0])
    if len(others) > 1:
        result["type"] = [each["type"] for each in others]
    if "additionalProperties" in result:
        result["additionalProperties"] = {"type": [each["type"] for each in result["additionalProperties"]["anyOf"]]}
    if is_nullable and "$ref" in result:
        return {"anyOf": [result, dict(_NULL)]}
    if is_nullable and "enum" in result:
        result["enum"] = [*result["enum"], None]
    elif is_nullable:
        result["type"] = [result["type"], "null"]
    return result
