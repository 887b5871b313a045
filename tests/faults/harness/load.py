"""The load: a simulated fleet whose terminals know two addresses."""

import asyncio
import threading
import time
from collections.abc import Sequence

import httpx

from sandbox.fleet.model import FleetPlan
from sandbox.fleet.send import Tally, send

ANSWER_SECONDS = 8.0  # seconds a terminal waits for an answer


class TwoDoors(httpx.AsyncBaseTransport):
    """Sends each terminal's requests to one of the push processes, and to the next one after a failure."""

    def __init__(self, doors: Sequence[int]) -> None:
        self._doors = doors
        self._turn: dict[str, int] = {}
        self._http = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=100), trust_env=False)
        self.first_try: dict[bytes, float] = {}
        """When each body was sent first, seconds since the epoch."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.first_try.setdefault(request.content, time.time())
        terminal = request.headers["X-Device-Token"]
        turn = self._turn.setdefault(terminal, len(self._turn))
        request.url = request.url.copy_with(port=self._doors[turn % len(self._doors)])
        try:
            response = await self._http.handle_async_request(request)
        except httpx.TransportError:
            self._turn[terminal] = turn + 1
            raise
        if response.status_code >= 500:
            self._turn[terminal] = turn + 1
        return response

    async def aclose(self) -> None:
        await self._http.aclose()


class Load:
    """A plan that is being sent, in a thread of its own."""

    def __init__(self, plan: FleetPlan, doors: Sequence[int], seconds: float) -> None:
        self._plan = plan
        self._doors = TwoDoors(doors)
        self._seconds = seconds
        self._tally: Tally | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether a terminal still has something to send."""
        return self._thread.is_alive()

    @property
    def tally(self) -> Tally:
        """What the terminals believe, when they have sent everything."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        assert self._tally is not None
        return self._tally

    def first_tries(self) -> dict[str, float]:
        """When each event was first sent, by event_id, seconds since the epoch."""
        tries: dict[str, float] = {}
        for transmissions in self._plan.transmissions.values():
            for one in transmissions:
                for id_ in one.accepted:
                    at = self._doors.first_try[one.body]
                    tries[id_] = min(at, tries.get(id_, at))
        return tries

    def _run(self) -> None:
        try:
            self._tally = asyncio.run(
                send(
                    self._plan,
                    "http://127.0.0.1",
                    duration=self._seconds,
                    answer_seconds=ANSWER_SECONDS,
                    transport=self._doors,
                )
            )
        except BaseException as error:  # noqa: BLE001 - raised where the tally is asked for
            self._failure = error
