"""Tokens for OAUTHBEARER: one request for all that wait, another before the old one expires, a cause if none comes."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import faust
import httpx
import pytest

from attendance.errors import ConfigurationError
from attendance.kafka.clients import connection_options
from attendance.kafka.tokens import TokenProvider, TokenUnavailable
from attendance.settings import KafkaSettings, StreamSettings
from streams.app import faust_settings

URL = "https://id.example.com/token"


def settings(**values: Any) -> KafkaSettings:
    return KafkaSettings.load(
        **{
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauthbearer_token_endpoint_url": URL,
            "sasl_oauthbearer_client_id": "punchstream",
            "sasl_oauthbearer_client_secret": "s3cret",
            "_env_file": None,
            **values,
        }
    )


class Endpoint:
    """Gives tokens that are valid for an hour, each with a number, unless it is told what to answer."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: httpx.Response | Exception | None = None
        self.now = 0.0

    def provider(self, **values: Any) -> TokenProvider:
        return TokenProvider(settings(**values), httpx.MockTransport(self._respond), lambda: self.now)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return httpx.Response(200, json={"access_token": f"token-{len(self.requests)}", "expires_in": 3600})


def test_a_token_is_asked_for_with_the_clients_credentials_and_the_scope() -> None:
    endpoint = Endpoint()
    provider = endpoint.provider(sasl_oauthbearer_scope="kafka")
    assert asyncio.run(provider.token()) == "token-1"
    (request,) = endpoint.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.content == b"grant_type=client_credentials&scope=kafka"
    assert request.headers["Authorization"] == "Basic cHVuY2hzdHJlYW06czNjcmV0"


def test_a_token_is_kept_until_four_fifths_of_its_life_are_over() -> None:
    endpoint = Endpoint()
    provider = endpoint.provider()
    given = []
    for endpoint.now in (0, 2879, 2880, 5000):
        given.append(asyncio.run(provider.token()))
    assert given == ["token-1", "token-1", "token-2", "token-2"]


def test_clients_in_several_threads_wait_for_one_request() -> None:
    endpoint, everybody = Endpoint(), threading.Barrier(3)
    provider = endpoint.provider()
    given = []

    def ask() -> None:
        everybody.wait()
        given.append(asyncio.run(provider.token()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (given, len(endpoint.requests)) == (["token-1"] * 3, 1)


def test_while_the_endpoint_is_away_the_former_token_is_used_until_it_expires() -> None:
    endpoint = Endpoint()
    provider = endpoint.provider()
    asyncio.run(provider.token())
    endpoint.answer = httpx.ConnectError("connection refused")
    endpoint.now = 3599
    assert asyncio.run(provider.token()) == "token-1"
    endpoint.now = 3600
    with pytest.raises(TokenUnavailable, match=f"{URL} does not answer a request for a token: connection refused"):
        asyncio.run(provider.token())
    endpoint.answer = None
    assert asyncio.run(provider.token()) == f"token-{len(endpoint.requests)}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx.Response(401, json={"error": "invalid_client", "error_description": "wrong secret"}),
            "gives the client 'punchstream' no token: HTTP 401, invalid_client: wrong secret",
        ),
        (httpx.Response(502, text="<html>"), "gives the client 'punchstream' no token: HTTP 502"),
        (httpx.Response(200, text="<html>"), "answers without an access_token"),
        (httpx.Response(200, json=["token"]), "answers without an access_token"),
    ],
)
def test_an_endpoint_that_gives_no_token_is_quoted(answer: httpx.Response, said: str) -> None:
    endpoint = Endpoint()
    endpoint.answer = answer
    with pytest.raises(TokenUnavailable) as refusal:
        asyncio.run(endpoint.provider().token())
    assert refusal.value.args[0] == f"{URL} {said}"


def test_a_token_without_a_life_is_used_once() -> None:
    endpoint = Endpoint()
    endpoint.answer = httpx.Response(200, json={"access_token": "t"})
    provider = endpoint.provider()
    assert [asyncio.run(provider.token()), asyncio.run(provider.token()), len(endpoint.requests)] == ["t", "t", 2]


def test_the_secret_is_read_from_its_file_for_each_request(tmp_path: Path) -> None:
    file, endpoint = tmp_path / "secret", Endpoint()
    file.write_text("first\n")
    provider = endpoint.provider(sasl_oauthbearer_client_secret=None, sasl_oauthbearer_client_secret_file=file)
    asyncio.run(provider.token())
    file.write_text("second\n")
    endpoint.now = 3600
    asyncio.run(provider.token())
    shown = [request.headers["Authorization"] for request in endpoint.requests]
    logins = [httpx.BasicAuth("punchstream", secret)._auth_header for secret in ("first", "second")]
    assert shown == logins


def test_the_extensions_are_given_to_the_broker() -> None:
    provider = Endpoint().provider(sasl_oauthbearer_extensions="logicalCluster=lkc-1,identityPoolId=pool-1")
    assert provider.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}


def test_every_client_and_the_streams_consumer_share_one_provider() -> None:
    kafka = settings()
    provider = connection_options(kafka, "a")["sasl_oauth_token_provider"]
    assert connection_options(kafka, "b")["sasl_oauth_token_provider"] is provider
    credentials = faust_settings(kafka, StreamSettings(_env_file=None))["broker_credentials"]
    assert isinstance(credentials, faust.OAuthCredentials)
    assert credentials.oauth_cb is provider


def test_what_oauthbearer_needs_is_named() -> None:
    with pytest.raises(ConfigurationError, match="KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET, or the last with _FILE, are"):
        connection_options(settings(sasl_oauthbearer_client_secret=None), "c")
    with pytest.raises(ConfigurationError, match="KAFKA_SASL_OAUTHBEARER_EXTENSIONS"):
        settings(sasl_oauthbearer_extensions="logicalCluster")
