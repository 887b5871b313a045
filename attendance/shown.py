"""What others wrote, made safe to show: on a terminal, in a log, on a page.

Devices, files, ERPNext and whoever may post choose texts that we print. A terminal obeys control characters, direction
characters make a text look like another, and an address may have a password in it.
"""

import re
from typing import Final

MASK: Final = "***"

_JOINERS: Final = "\u200c\u200d"  # Persian and Indian names are written with them, and they move nothing
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s?#\"'<>]*@")
_IN_A_QUERY: Final = re.compile(
    # The lengths are bounded, so that no text makes this slow.
    r"([?&;](?:[\w.-]{0,40}(?:token|secret|passw(?:or)?d|pwd|signature|credential)[\w.-]{0,40}|api[_-]?key|key|sig)=)"
    r"[^&\s#\"'<>]+",
    re.IGNORECASE,
)


def shown(text: str) -> str:
    """The text as it may be shown. Lines and tabs stay; what else cannot be printed is written as its escape.

    Args:
        text: Anything.
    """
    return escaped(without_credentials(text), "\n\t")


def shown_in_a_line(text: str) -> str:
    """The text as it may be shown where a line of its own would be taken for ours."""
    return escaped(without_credentials(text))


def shown_json(text: str) -> str:
    """JSON that says the same, and that a terminal may be given as it is.

    Args:
        text: JSON. What cannot be printed stands in its strings, or between its values as a new line.
    """
    text = without_credentials(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" + _JOINERS else _json_escape(char) for char in text)


def without_credentials(text: str) -> str:
    """The text without what logs in where: in addresses, `user:password@` and the secret fields of a query."""
    if "://" in text:
        text = _CREDENTIALS.sub(f"{MASK}@", text)
    return _IN_A_QUERY.sub(rf"\1{MASK}", text) if "=" in text else text


def escaped(text: str, but: str = "") -> str:
    """The text with an escape for each character that cannot be printed.

    Args:
        text: Anything.
        but: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    allowed = but + _JOINERS
    return "".join(
        char if char.isprintable() or char in allowed else char.encode("unicode_escape").decode() for char in text
    )


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
