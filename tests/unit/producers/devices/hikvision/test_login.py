from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.devices.hikvision.login import Login


class Terminal:
    """Answers 401 with its challenges until it gets what it takes for credentials."""

    def __init__(self, *challenges: str, takes: str = "Digest") -> None:
        self.challenges = challenges
        self.takes = takes
        self.got: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        given = request.headers.get("authorization", "")
        self.got.append(given)
        if given.startswith(self.takes):
            return httpx.Response(200)
        return httpx.Response(401, headers=[("WWW-Authenticate", each) for each in self.challenges])


def ask(terminal: Terminal, login: Login | None = None) -> Sequence[str]:
    with httpx.Client(transport=httpx.MockTransport(terminal.answer)) as http:
        http.get("http://192.0.2.1/ISAPI", auth=login or Login("me", "secret", tls=False, offers_digest=False))
    return terminal.got


MD5 = 'Digest qop="auth", realm="DS-1", nonce="abc"'
BASIC = 'Basic realm="DS-1"'


@pytest.mark.parametrize(
    "challenges",
    [
        [MD5],
        [BASIC, MD5],
        [f"{BASIC}, {MD5}"],
        [f"{MD5}, {BASIC}"],
        [MD5.replace("qop", "Qop").replace("realm", "REALM").replace("Digest", "DIGEST")],
        [MD5.replace('"auth"', '"auth-int"'), MD5],
        [f"{MD5}, algorithm=SHA-512-256", f"{MD5}, algorithm=SHA-256"],
        ['Digest realm="Basic, of Digest", nonce="abc"'],
    ],
    ids=["digest", "two headers", "one header", "basic last", "capitals", "auth-int", "algorithms", "words in a realm"],
)
def test_a_digest_is_made_of_whichever_challenge_can_be_answered(challenges: list[str]) -> None:
    first, second = ask(Terminal(*challenges))
    assert first == ""
    assert second.startswith("Digest ")
    assert "secret" not in second


def test_a_challenge_is_kept_for_the_next_request() -> None:
    terminal, login = Terminal(MD5), Login("me", "secret", tls=False, offers_digest=False)
    ask(terminal, login)
    assert len(ask(terminal, login)) == 3


@pytest.mark.parametrize("challenges", [[BASIC], ["basic"], ["Negotiate, Basic realm=x"], ["NTLM", BASIC]])
def test_basic_is_for_terminals_that_have_nothing_better(challenges: list[str]) -> None:
    terminal, login = Terminal(*challenges, takes="Basic"), Login("me", "secret", tls=False, offers_digest=False)
    assert len(ask(terminal, login)) == 2
    assert len(ask(terminal, login)) == 3
    assert login.uses_basic


@pytest.mark.parametrize(("tls", "requests"), [(False, 1), (True, 2)])
def test_a_password_that_can_be_read_on_the_way_is_not_sent_where_a_digest_was_asked_for(
    tls: bool,  # noqa: FBT001 - a parameter of the test
    requests: int,
) -> None:
    login = Login("me", "secret", tls=tls, offers_digest=True)
    assert len(ask(Terminal(BASIC, takes="Basic"), login)) == requests
    assert bool(login.problem) is not tls


@pytest.mark.parametrize("challenge", [MD5, BASIC])
def test_a_wrong_password_is_sent_once(challenge: str) -> None:
    assert len(ask(Terminal(challenge, takes="nothing"))) == 2


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(lambda rest: f"Digest {rest}"))
def test_any_challenge_is_answered_or_is_an_error_that_the_caller_knows(challenge: str) -> None:
    try:
        ask(Terminal(challenge))
    except (httpx.ProtocolError, KeyError, ValueError, NotImplementedError):
        return
