"""A terminal that speaks the JSON of `POST /v1/events`."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from sandbox.terminals.base import HttpAnswer, HttpRequest, Punch, Quirks


class JsonTerminal:
    """See `PushTerminal`."""

    def __init__(self, serial: str, token: str, zone: str) -> None:  # noqa: ARG002 - it writes its own wall clock
        self._device_id = serial
        self._token = token

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PushTerminal`."""
        return {"mode": "push", "adapter": "json", "token_sha256": sha256(self._token.encode()).hexdigest()}

    def hello(self) -> Sequence[HttpRequest]:
        """A heartbeat with nothing pending."""
        return [self._post("/v1/heartbeat", {"device_id": self._device_id, "pending": 0})]

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """See `PushTerminal`."""
        events: list[object] = [self._event(punch) for punch in punches]
        if quirks.garbage_at is not None:
            events.insert(quirks.garbage_at, "\x00garbage")
        return [self._post("/v1/events", {"device_id": self._device_id, "events": events})]

    def strangers(self) -> Sequence[HttpRequest]:
        """None: what is no punch is not sent."""
        return []

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:  # noqa: ARG002 - the answer counts them by itself
        """See `PushTerminal`."""
        return answer.status == 200

    def _event(self, punch: Punch) -> dict[str, object]:
        event: dict[str, object] = {"user_id": punch.user, "time": punch.at.isoformat(sep=" "), "name": punch.name}
        if punch.direction:
            event["type"] = punch.direction
        if punch.number is not None:
            event["sequence"] = punch.number
        if punch.photo is not None:
            event["photo"] = punch.photo.hex()
        return event

    def _post(self, path: str, body: object) -> HttpRequest:
        headers = {"Content-Type": "application/json", "X-Device-Token": self._token}
        return HttpRequest("POST", path, headers, orjson.dumps(body))
