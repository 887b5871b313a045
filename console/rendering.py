"""Rendering: pages of templates, in a language, with everything that others wrote made safe to show."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from attendance.shown import shown
from console.language import Language, languages


def _safe(value: object) -> object:
    """One door for every text on a page: devices, files and ERPNext choose some of them."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@cache
def environment(code: str) -> Environment:
    """The templates in a language.

    Args:
        code: Of the language.
    """
    made = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = languages()[code].words
    made.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.globals["static"] = static
    return made


def render(template: str, language: Language, content: Mapping[str, Any]) -> str:
    """A page, or a part of one.

    Args:
        template: Its file in `console/templates/`.
        language: In which words.
        content: What the template names.
    """
    return environment(language.code).get_template(template).render(content, language=language)


@cache
def static(name: str) -> str:
    """The address of a file that pages load. It changes with the file, so that a browser may keep it for ever.

    Args:
        name: Of a file in `console/static/`.
    """
    content = files("console").joinpath("static", name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
