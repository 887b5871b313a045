"""The ERPNext stand-in in the process of the test, asked over its REST interface."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import httpx

from sandbox.erpnext.app import create_app
from sandbox.erpnext.knobs import Knobs
from sandbox.erpnext.site import Site
from sandbox.erpnext.store import utc_now
from sandbox.erpnext.users import ADMIN, User


class Api:
    """An application, the site behind it, and the client of a user."""

    def __init__(self, clock: Callable[[], datetime] = utc_now, **knobs: Any) -> None:
        """One with one employee, its knobs so turned; by that clock it numbers documents and ends shifts."""
        self.site = Site(clock=clock)
        self.site.put_employees([{"name": "HR-EMP-00001", "attendance_device_id": "1001"}])
        self.app = create_app(self.site, Knobs.model_validate(knobs))

    def run(self, talk: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]], user: User = ADMIN) -> Any:
        """What the talk of that user comes to."""

        async def connected() -> Any:
            headers = {"Authorization": f"token {user.api_key}:{user.api_secret}"} if user.api_key else {}
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://erp", headers=headers) as client:
                return await talk(client)

        return asyncio.run(connected())

    def request(self, method: str, path: str, *, user: User = ADMIN, **more: Any) -> httpx.Response:
        """The answer to one request of that user."""

        async def talk(client: httpx.AsyncClient) -> httpx.Response:
            return await client.request(method, path, **more)

        response = self.run(talk, user)
        assert isinstance(response, httpx.Response)
        return response

    def together(self, count: int, path: str, body: Any) -> list[int]:
        """The statuses of so many requests that are all on their way at once."""

        async def talk(client: httpx.AsyncClient) -> list[int]:
            answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(count)))
            return sorted(answer.status_code for answer in answers)

        statuses = self.run(talk)
        assert isinstance(statuses, list)
        return statuses

    @property
    def rows(self) -> int:
        """How many check-ins there are."""
        return len(self.site.checkins.rows)
