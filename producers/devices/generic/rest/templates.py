"""Placeholders such as `{from}` in the query and body of a request."""

import re
from collections.abc import Mapping
from typing import Final

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
PLACEHOLDERS: Final = frozenset({"from", "to", "cursor", "page", "offset", "size"})


def placeholders_in(template: object) -> set[str]:
    """The names of the placeholders in a template, however deep."""
    match template:
        case str():
            return set(_PLACEHOLDER.findall(template))
        case Mapping():
            return {name for value in template.values() for name in placeholders_in(value)}
        case list():
            return {name for value in template for name in placeholders_in(value)}
    return set()


def filled(template: object, values: Mapping[str, str | int]) -> object:
    """A template with the values in it. A string that is nothing but a placeholder becomes the value itself.

    Args:
        template: Strings, in any lists and mappings.
        values: A value for each placeholder.
    """
    match template:
        case str():
            if whole := _PLACEHOLDER.fullmatch(template):
                return values[whole[1]]
            return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)
        case Mapping():
            return {name: filled(value, values) for name, value in template.items()}
        case list():
            return [filled(value, values) for value in template]
    return template
