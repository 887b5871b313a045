"""Lists of names as a setting has them."""

import orjson


def name_list(value: object) -> object:
    """Names that are separated by commas, or a JSON list of them, one by one.

    Args:
        value: Of the setting. What is no text stays as it is.

    Raises:
        ValueError: it begins as JSON, and is none.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith(("[", "{", '"')):
        return orjson.loads(value)
    return [name for each in value.split(",") if (name := each.strip())]
