"""Every route of the console: pages and the API, as the application has them."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from console_site import Browser
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from starlette.routing import Mount, Route

from attendance.records.console_user import Role
from console.api.app import PATH
from console.rights import RIGHTS, Right

READS: Final = {"GET", "HEAD"}


@dataclass(frozen=True)
class Way:
    """A method of a route, what stands before it, the right that it asks for, and what a query of it may name."""

    method: str
    path: str
    guards: frozenset[Any] = frozenset()
    rights: frozenset[Right] = frozenset()
    queries: tuple[str, ...] = ()

    @property
    def is_of_api(self) -> bool:
        return self.path.startswith(PATH)

    @property
    def address(self) -> str:
        return re.sub(r"\{[^}]+\}", "1", self.path)

    def may(self, role: Role) -> bool:
        return self.rights <= RIGHTS[role]

    def ask(self, browser: Browser, **options: Any) -> int:
        call = getattr(browser, self.method.lower())
        return int(call(self.address, follow_redirects=False, **options).status_code)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def ways(app: FastAPI, under: str = "") -> Iterator[Way]:
    """Every way into an application, and into those that are mounted below it."""
    for found in iter_route_contexts(app.routes):
        route = found.original_route
        if isinstance(route, Mount):
            if isinstance(route.app, FastAPI):
                yield from ways(route.app, under + route.path)
        elif isinstance(route, APIRoute):
            guards = frozenset(_guards(found.dependant))
            rights = frozenset(right for each in guards if (right := _right(each)) is not None)
            queries = tuple(_queries(found.dependant))
            for method in sorted(found.methods or ()):
                yield Way(method, f"{under}{found.path}", guards, rights, queries)
        else:
            assert isinstance(route, Route), f"of {route} nobody knows who may come in"
            yield Way("GET", under + route.path)


def _guards(of: Dependant) -> Iterator[Any]:
    for each in of.dependencies:
        yield each.call
        yield from _guards(each)


def _queries(of: Dependant) -> Iterator[str]:
    for each in of.query_params:
        model = each.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from model.model_fields
        else:
            yield each.alias


def _right(guard: Any) -> Right | None:
    """The right that `acting`, `reading_with` or `calling_with` was given."""
    found = inspect.getclosurevars(guard).nonlocals.get("right") if inspect.isfunction(guard) else None
    return found if isinstance(found, Right) else None
