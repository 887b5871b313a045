"""What the pages of plans have in common: how long they wait, how much they show, and what they say went wrong."""

from collections.abc import Collection, Mapping
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import Response

from console.acting import Refused
from console.context import context_of, language_of, page
from console.employees import NamedEmployee
from console.plans import Plan
from console.rights import Actor

SECONDS: Final = 5.0
"""So long a browser waits for a plan before it is shown that it is being worked out."""
AT_ONCE: Final = 500
"""Rows of a table. What a plan counts is all of it."""

Text = Annotated[str, Form(max_length=500)]


def form_page(
    request: Request, actor: Actor, template: str, asked: Mapping[str, str], refusal: Refused | None = None
) -> Response:
    """The form by which a plan is asked for.

    Args:
        request: Of the page.
        actor: Who sees it.
        template: Its template.
        asked: What the form says.
        refusal: Why no plan was begun; None where none was asked for.
    """
    context = context_of(request)
    return page(
        request,
        template,
        200 if refusal is None else 409,
        asked=asked,
        sites=sorted({each.site for each in context.registry if actor.sees(each.site)}),
        problem=problem_of(request, None, refusal),
    )


def problem_of(request: Request, plan: Plan | None, refusal: Refused | None) -> str | None:
    """Why something was not done, or why a plan is not known, in the language of the page; None where nothing is wrong.

    Args:
        request: Of the page.
        plan: The one that is shown; None where there is none yet.
        refusal: Why what was asked was not done; None where it was, or nothing was asked.
    """
    language = language_of(request)
    if refusal is not None:
        return language.say(refusal.message) % refusal.values
    if plan is not None and plan.problem is not None:
        return language.say(plan.problem) % plan.values
    return None


async def names_of(request: Request, shown: Collection[str]) -> Mapping[str, NamedEmployee]:
    """The employees that a page names, as people know them. Where ERPNext does not say it, there are only their ids.

    Args:
        request: Of the page.
        shown: Their ids.
    """
    employees = context_of(request).employees
    found = None if employees is None else await employees.named(shown)
    return {} if found is None else found
