"""Sends a plan as a fleet would: terminals side by side, each one's requests in order and again until acknowledged."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import structlog

from attendance.errors import Reason
from sandbox.fleet.model import FleetPlan, Terminal, Transmission

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 100

Progress = Callable[["Tally"], None]


@dataclass(slots=True)
class Tally:
    """What the terminals believe.

    `acknowledged` says how often each event was acknowledged, by event_id. An attempt without an answer may have been
    stored or not, so the raw topic holds at least `acknowledged_events` records of this run and at most
    `attempted_events`. `contradictions` are answers other than the plan's, each in one line.
    """

    acknowledged: Counter[str] = field(default_factory=Counter)
    rejected_events: int = 0
    refused_bodies: int = 0
    transmissions: int = 0
    attempts: int = 0
    attempted_events: int = 0
    contradictions: list[str] = field(default_factory=list)

    @property
    def acknowledged_events(self) -> int:
        """Events acknowledged, copies included."""
        return self.acknowledged.total()

    @property
    def retries(self) -> int:
        """Attempts that had no final answer."""
        return self.attempts - self.transmissions


async def send(
    plan: FleetPlan,
    url: str,
    *,
    duration: float = 0.0,
    pause: float = 0.5,
    answer_seconds: float = 30.0,
    on_progress: Progress | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Tally:
    """Send every transmission and return when each has a final answer; so it may last for ever.

    If an attempt has no answer in time, or one that says "later" (429 or 5xx), the terminal waits and tries again.

    Args:
        plan: What the fleet sends.
        url: Where push listens.
        duration: Seconds over which the transmissions are spread.
        pause: Seconds between two attempts.
        answer_seconds: How long an attempt waits for its answer.
        on_progress: Called after each final answer. It sees the tally that will be returned.
        transport: Replaces the network.
    """
    tally = Tally()
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
    # A terminal that waits for one of our connections has not begun to wait for the server.
    timeouts = httpx.Timeout(answer_seconds, pool=None)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=timeouts, transport=transport, trust_env=False
    ) as client:
        fleet = _Fleet(client, tally, pause, on_progress)
        started = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for terminal in plan.terminals:
                transmissions = plan.transmissions.get(terminal.device_id, ())
                group.create_task(fleet.run(terminal, transmissions, started, duration))
    return tally


@dataclass(frozen=True, slots=True)
class _Fleet:
    client: httpx.AsyncClient
    tally: Tally
    pause: float
    on_progress: Progress | None

    async def run(
        self, terminal: Terminal, transmissions: tuple[Transmission, ...], started: float, duration: float
    ) -> None:
        """One terminal's life. A late answer delays what follows, as on a terminal."""
        loop = asyncio.get_running_loop()
        for transmission in transmissions:
            await asyncio.sleep(max(0.0, started + transmission.at * duration - loop.time()))
            response = await self._acknowledged(terminal, transmission)
            self._count(transmission, response)
            if self.on_progress is not None:
                self.on_progress(self.tally)

    async def _acknowledged(self, terminal: Terminal, transmission: Transmission) -> httpx.Response:
        headers = {"X-Device-Token": terminal.token, "Content-Type": "application/json"}
        while True:
            self.tally.attempts += 1
            self.tally.attempted_events += len(transmission.accepted)
            try:
                response = await self.client.post("/v1/events", content=transmission.body, headers=headers)
            except httpx.TransportError as error:
                log.debug("A terminal was not answered.", device_id=terminal.device_id, error=repr(error))
            else:
                if response.status_code != httpx.codes.TOO_MANY_REQUESTS and not response.is_server_error:
                    return response
                log.debug("A terminal must wait.", device_id=terminal.device_id, status=response.status_code)
            await asyncio.sleep(self.pause)

    def _count(self, transmission: Transmission, response: httpx.Response) -> None:
        """Take the answer at its word, and note where the plan says otherwise."""
        tally = self.tally
        tally.transmissions += 1
        answer = _answer(response)
        given = (response.status_code, answer)
        if transmission.event_ids is None:
            wanted = (400, {"ok": False, "error": Reason.UNREADABLE_BODY.value})
            tally.refused_bodies += response.status_code == 400
        else:
            wanted = (
                200,
                {"ok": True, "inserted": len(transmission.accepted), "rejected": list(transmission.rejected)},
            )
            if response.status_code == 200:
                rejected = set(answer.get("rejected", ()))
                tally.rejected_events += len(rejected)
                tally.acknowledged.update(
                    id_ for index, id_ in enumerate(transmission.event_ids) if id_ is not None and index not in rejected
                )
        if given != wanted:
            tally.contradictions.append(f"{transmission.device_id}: answered {given}, the plan says {wanted}")


def _answer(response: httpx.Response) -> dict[str, Any]:
    """The part of an answer that the plan knows: of each rejection its index."""
    try:
        body = response.json()
        answer = {name: body[name] for name in ("ok", "inserted", "error") if name in body}
        if "rejected" in body:
            answer["rejected"] = [each["index"] for each in body["rejected"]]
    except (ValueError, TypeError, KeyError):
        return {}
    return answer
