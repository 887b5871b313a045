"""The program that runs pyzk, against a simulated terminal: one line in, one line out, whatever the terminal does."""

import asyncio
import base64
import io
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from sandbox.terminals.base import Punch
from sandbox.terminals.zkteco_tcp import ZktecoTcp
from zkreader import __main__ as module
from zkreader.__main__ import answer, main

# pyzk leaves sockets open; the process that it has otherwise ends soon.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

EIGHT = datetime.fromisoformat("2026-03-05 08:00")


def terminal(punches: int = 3, *, width: int = 40) -> ZktecoTcp:
    made = ZktecoTcp("SN0001", "Asia/Riyadh", "hunter2", width)
    made.memory.extend(Punch("417", EIGHT + timedelta(seconds=second), "IN") for second in range(punches))
    return made


def ask(of: ZktecoTcp, use: Callable[[dict[str, Any]], Any] = answer, **changed: Any) -> Any:
    """What the program says of a terminal that serves meanwhile."""

    async def serve() -> Any:
        async with of.serving():
            place = {"host": "127.0.0.1", "port": of.port, "comm_key": of.key}
            return await asyncio.to_thread(use, {**place, "timeout": 5, "deadline": 60, "log": True, **changed})

    return asyncio.run(serve())


def test_the_log_comes_as_the_terminal_sent_it() -> None:
    response = ask(terminal())
    assert (response["serial"], response["records"], response["capacity"]) == ("SN0001", [3, 3], 100_000)
    assert response["size"] == len(base64.b64decode(response["log"])) == 3 * 40
    assert response["users"] == [], "records of 40 bytes hold the user's id themselves"


def test_where_records_hold_a_place_in_memory_the_users_come_too() -> None:
    response = ask(terminal(width=8))
    assert response["size"] == 3 * 8
    assert [user for _, user in response["users"]] == ["417"]


def test_who_the_terminal_is_can_be_asked_without_its_log() -> None:
    response = ask(terminal(), log=False)
    assert (response["serial"], response["records"], response["log"]) == ("SN0001", [3, 3], "")


def test_an_empty_log_is_not_asked_for() -> None:
    silent = terminal(0)
    assert ask(silent)["size"] == 0
    assert 1503 not in silent.commands


def test_a_wrong_key_is_refused() -> None:
    assert ask(terminal(), comm_key=1)["error"] == "refused"


def test_a_terminal_that_is_not_there_is_unavailable() -> None:
    response = answer({"host": "127.0.0.1", "port": 1, "comm_key": 0, "timeout": 1, "log": True})
    assert response["error"] == "unavailable"


def test_a_terminal_that_does_not_answer_is_unavailable() -> None:
    silent = terminal()
    silent.faults.delay = 5
    assert ask(silent, timeout=0.2)["error"] == "unavailable"


def test_a_terminal_that_ends_the_connection_is_unavailable() -> None:
    async def serve() -> Any:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            asked = {"host": "127.0.0.1", "port": port, "comm_key": 0, "timeout": 5, "log": True}
            return await asyncio.to_thread(answer, asked)

    assert asyncio.run(serve())["error"] == "unavailable"


def test_the_program_reads_one_line_and_prints_one_within_its_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits: list[Any] = []
    monkeypatch.setattr(module.signal, "alarm", limits.append)
    monkeypatch.setattr(module.resource, "setrlimit", lambda _, most: limits.append(most))

    def run(asked: dict[str, Any]) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked) + "\n"))
        main()

    ask(terminal(), run)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["serial"] == "SN0001"
    assert limits == [60, (1 << 30, 1 << 30)]
