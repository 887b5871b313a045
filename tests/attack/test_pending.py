"""Serial numbers that somebody makes up, by the hundred thousand: the terminal that is really new stands first."""

import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from attacked import MEGABYTE, Answers, Attack, Attacked

from attendance.records.terminals import PendingKey, decode_key
from producers.pending import AT_ONCE, MOST

ATTACKERS = 8
AT_A_TIME = 10
"""Requests that are sent before the first of them is answered."""
NEW = "CJ9H203460099"


def ask_as(serial: str) -> bytes:
    return f"GET /iclock/getrequest?SN={serial} HTTP/1.1\r\nHost: push\r\n\r\n".encode()


def make_up(push: Attacked, number: int, count: int) -> None:
    """So many serial numbers, each once, from one address."""
    with push.connect(f"127.0.0.{number + 2}") as connection:
        answers = Answers(connection)
        for first in range(0, count, AT_A_TIME):
            asked = range(first, min(first + AT_A_TIME, count))
            connection.sendall(b"".join(ask_as(f"FAKE{number}{each:06}") for each in asked))
            assert {answers.next().status for _ in asked} == {403}


@pytest.mark.parametrize("count", [4_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_made_up_serial_numbers_hide_no_terminal_and_cost_little(attacked: Attack, count: int) -> None:
    push = attacked()
    push.ask(ask_as(NEW), "127.0.1.1")
    before, began = push.begin(), time.monotonic()
    served = 0
    with ThreadPoolExecutor(ATTACKERS) as threads:
        attackers = [threads.submit(make_up, push, number, count // ATTACKERS) for number in range(ATTACKERS)]
        came = began
        while not all(each.done() for each in attackers):
            if time.monotonic() - came > 5:
                came = time.monotonic()
                assert push.ask(ask_as(NEW), "127.0.1.1").status == 403
            assert push.is_served(f"{served}", "127.0.1.2")
            served += 1
            time.sleep(0.2)
        for each in attackers:
            each.result()
    cost, lasted = push.cost(), time.monotonic() - began
    assert cost.memory - before.memory < 30 * MEGABYTE
    assert cost.cpu - before.cpu < 15 + count / 1_000
    assert len(push.log.read_bytes()) < 20_000 + 10_000 * lasted / 60
    assert len(set(push.users())) == served
    pending = [each.key for each in push.records("terminals") if isinstance(decode_key(each.key), PendingKey)]
    assert len(pending) < 2 * AT_ONCE * lasted
    shown = orjson.loads(push.command("devices", "pending", "--json"))
    waiting = [each for each in shown if "serial" in each]
    assert len(waiting) <= MOST
    assert (waiting[0]["serial"], list(waiting[0]["clients"])) == (NEW, ["127.0.1.1"])
