"""A ZKBioTime server: the REST API to what its terminals have sent to it."""

import json
import random
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from sandbox.ports import free_port
from sandbox.terminals.base import Faults, Punch
from sandbox.terminals.served import Asked, Said, serve

_STATES: Final = {"IN": "0", "OUT": "1", "": "255"}
_MOST: Final = 500


@dataclass(slots=True)
class BioTimeServer:
    """A row's number is its place in `memory`, which is in the order of arrival, from 1.

    `ordered` are its rows; where they are not, those of one time stand in another order at each request.
    `terminals` is on which terminal a user punches, `serial` where it names none. `newest_first` is the order of rows.
    `gone` are numbers that are not there: rolled back, or deleted. `licensed` says whether there is an API,
    `jwt` whether its tokens are of that kind, `token_uses` how often one serves. `elsewhere` is an address that it
    believes to be its own. `extra` are rows that stand before all others, whatever is asked for.
    """

    serial: str
    zone: str
    password: str
    memory: list[Punch] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    logins_refused: int = 0
    requests: int = 0
    terminals: dict[str, str | None] = field(default_factory=dict)
    newest_first: bool = False
    ordered: bool = True
    gone: set[int] = field(default_factory=set)
    licensed: bool = True
    jwt: bool = True
    token_uses: int = 1_000_000
    elsewhere: str | None = None
    extra: list[Any] = field(default_factory=list)
    rows_read: int = 0
    port: int = field(default_factory=free_port)
    _tokens: dict[str, int] = field(default_factory=dict)
    _order: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - an order, no secret

    def registry_entry(self) -> Mapping[str, Any]:
        """See `PullTerminal`."""
        return {"mode": "pull", "adapter": "zkbiotime", "host": "127.0.0.1", "port": self.port}

    def credentials(self) -> Mapping[str, str]:
        """See `PullTerminal`."""
        return {"username": "attendance", "password": self.password}

    def serving(self) -> AbstractAsyncContextManager[None]:
        """See `PullTerminal`."""
        return serve(self, self._answer)

    def _answer(self, asked: Asked) -> Said:
        kind, path = ("JWT", "/jwt-api-token-auth/") if self.jwt else ("Token", "/api-token-auth/")
        if (asked.method, asked.path) == ("POST", path):
            return self._log_in(asked)
        if asked.method != "GET" or not asked.path.startswith("/iclock/api/"):
            return _json(404, {"detail": "Not found."})
        given, _, token = asked.headers.get("authorization", "").partition(" ")
        if given != kind or self._tokens.get(token, 0) <= 0:
            return _json(401, {"detail": "Signature has expired."})
        self._tokens[token] -= 1
        if not self.licensed:
            return _json(403, {"detail": "IsNotOpenAPI"})
        if asked.path == "/iclock/api/terminals/":
            return _json(200, {"count": 1, "next": None, "previous": None, "code": 0, "data": [{"sn": self.serial}]})
        return self._transactions(asked.query)

    def _log_in(self, asked: Asked) -> Said:
        if self.faults.password_wrong or json.loads(asked.body) != self.credentials():
            self.logins_refused += 1
            return _json(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
        token = secrets.token_urlsafe(32)
        self._tokens[token] = self.token_uses
        return _json(200, {"token": token})

    def _transactions(self, query: Mapping[str, str]) -> Said:
        page, size = int(query.get("page", "1")), min(int(query.get("page_size", "10")), _MOST)
        found = list(self._rows(query))
        if not self.ordered:
            self._order.shuffle(found)
            found.sort(key=lambda row: str(row["punch_time"]))
        if self.newest_first:
            found.reverse()
        rows = found[(page - 1) * size : page * size]
        following = None
        if page * size < len(found):
            origin = self.elsewhere or f"http://127.0.0.1:{self.port}"
            following = f"{origin}/iclock/api/transactions/?{urlencode({**query, 'page': str(page + 1)})}"
        answer = {
            "count": len(found) + self.faults.count_off,
            "next": following,
            "previous": None,
            "msg": "",
            "code": 0,
            "data": rows,
        }
        body = json.dumps(answer, ensure_ascii=False).encode()
        sent = None
        if size > 1:  # a page of rows, not a question for their count
            self.rows_read += len(rows)
            if rows and self.faults.grows:
                self.memory.append(self.faults.grows.pop(0))
            if rows and self.faults.cut_after is not None:
                ends = [body.index(b"[") + 1, *(each.end() for each in re.finditer(rb"\}", body))]
                sent = ends[min(self.faults.cut_after, len(ends) - 2)]
        return Said(body=body, headers={"Content-Type": "application/json"}, sent=sent)

    def _rows(self, query: Mapping[str, str]) -> Iterator[Any]:
        start, end = query.get("start_time", ""), query.get("end_time", "9999")
        yield from self.extra
        for number, punch in enumerate(self.memory, start=1):
            if number not in self.gone and start <= str(punch.at) <= end:
                terminal = self.terminals.get(punch.user, self.serial)
                yield {
                    "id": number,
                    "emp": number + 7_000,
                    "emp_code": punch.user,
                    "first_name": punch.name,
                    "last_name": None,
                    "department": "Production",
                    "punch_time": str(punch.at),
                    "punch_state": _STATES[punch.direction],
                    "punch_state_display": "",
                    "verify_type": 15,
                    "work_code": "",
                    "area_alias": "HQ",
                    "terminal_sn": terminal,
                    "terminal_alias": "Gate",
                    "temperature": 0.0,
                    "upload_time": str(datetime.now().replace(microsecond=0)),  # noqa: DTZ005 - naive, as theirs is
                }


def _json(status: int, answer: Mapping[str, Any]) -> Said:
    return Said(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})
