"""What in a JSON Schema changed so that somebody who goes by the other one is wrong.

For the keywords that our schemas use. Both directions count: a topic holds records that are a year old, and a reader
may have been written against a schema that is a year old.
"""

from collections.abc import Iterator
from typing import Any

_PLAIN = ("enum", "const", "pattern", "format", "minLength", "minimum", "maximum", "exclusiveMaximum")
_TOLD = {"$schema", "$id", "$comment", "$defs", "$ref", "title", "description", "default"}
_COMPARED = {"type", "properties", "required", "additionalProperties", "items", "anyOf", *_PLAIN}

Schema = dict[str, Any]


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Every place where the new schema takes away what the old one promised, or promises what old records lack."""
    return list(_compared(old, new, old, new, "value"))


def _compared(old: Schema, new: Schema, old_root: Schema, new_root: Schema, place: str) -> Iterator[str]:
    old, new = _followed(old, old_root), _followed(new, new_root)
    if unknown := (old.keys() | new.keys()) - _TOLD - _COMPARED:
        yield f"{place}: nothing compares {sorted(unknown)}"
    if _types(old) != _types(new):
        yield f"{place}: of type {_types(new)}, was {_types(old)}"
    for keyword in _PLAIN:
        before, after = (_sorted(each.get(keyword)) for each in (old, new))
        if before != after:
            yield f"{place}: {keyword} is {after}, was {before}"
    yield from _fields(old, new, old_root, new_root, place)
    for keyword in ("additionalProperties", "items"):
        if keyword in old or keyword in new:
            yield from _compared(old.get(keyword, {}), new.get(keyword, {}), old_root, new_root, f"{place}.{keyword}")
    choices = [each.get("anyOf", []) for each in (old, new)]
    if len(choices[0]) != len(choices[1]):
        yield f"{place}: {len(choices[1])} choices, were {len(choices[0])}"
    for number, (one, other) in enumerate(zip(*choices, strict=False)):
        yield from _compared(one, other, old_root, new_root, f"{place}.choice{number}")


def _fields(old: Schema, new: Schema, old_root: Schema, new_root: Schema, place: str) -> Iterator[str]:
    before, after = (set(each.get("required", ())) for each in (old, new))
    yield from (f"{place}.{name}: no longer in every record" for name in sorted(before - after))
    yield from (f"{place}.{name}: older records lack it" for name in sorted(after - before))
    had, has = old.get("properties", {}), new.get("properties", {})
    for name in had:
        if name in has:
            yield from _compared(had[name], has[name], old_root, new_root, f"{place}.{name}")
        else:
            yield f"{place}.{name}: gone"


def _followed(schema: Schema, root: Schema) -> Schema:
    reference: str | None = schema.get("$ref")
    return schema if reference is None else _followed(root["$defs"][reference.removeprefix("#/$defs/")], root)


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return sorted([types] if isinstance(types, str) else types)


def _sorted(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list) else value
