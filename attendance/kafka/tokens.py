"""Access tokens for OAUTHBEARER, by OAuth's client credentials."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import httpx
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from attendance.errors import ConfigurationError
from attendance.kafka.credentials import Secret
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)

RENEW_AFTER: Final = 0.8  # of a token's life, as Kafka's own clients do


class TokenUnavailable(KafkaError):  # type: ignore[misc]
    """There is no token to log in with. aiokafka knows its own errors, and goes on after them."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gets a token when one is needed, and another before it expires. Safe from any thread and event loop."""

    def __init__(
        self,
        settings: KafkaSettings,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet.

        Args:
            settings: Where tokens come from, and who asks.
            transport: Carries the requests, httpx's own if not given.
            monotonic: A clock in seconds.

        Raises:
            ConfigurationError: a setting is missing, or the file of the secret cannot be read.
        """
        url, client_id = settings.sasl_oauthbearer_token_endpoint_url, settings.sasl_oauthbearer_client_id
        self._secret = Secret(
            "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
            settings.sasl_oauthbearer_client_secret,
            settings.sasl_oauthbearer_client_secret_file,
        )
        if url is None or client_id is None or self._secret.current() is None:
            raise ConfigurationError(
                "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, KAFKA_SASL_OAUTHBEARER_CLIENT_ID and "
                "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET, or the last with _FILE, are needed with OAUTHBEARER"
            )
        self._url, self._client_id = url, client_id
        self._scope = settings.sasl_oauthbearer_scope
        self._extensions = dict(settings.oauthbearer_extensions)
        self._timeout = settings.request_timeout
        self._cafile = settings.ssl_cafile
        self._transport = transport
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._expires_at = float("-inf")

    async def token(self) -> str:
        """A token that is valid. Raises TokenUnavailable, which says why there is none."""
        return await asyncio.to_thread(self._current)

    def extensions(self) -> dict[str, str]:
        """What the broker is told beside the token."""
        return self._extensions

    def _current(self) -> str:
        with self._lock:
            asked_at = self._monotonic()
            if asked_at >= self._renew_at:
                try:
                    self._token, life = self._ask()
                except TokenUnavailable as error:
                    if asked_at >= self._expires_at:
                        raise
                    log.warning("A new token cannot be had; the former one is used.", error=error.args[0])
                else:
                    self._renew_at, self._expires_at = asked_at + life * RENEW_AFTER, asked_at + life
            return self._token

    def _ask(self) -> tuple[str, float]:
        """A new token, and how long it is valid in seconds."""
        wanted = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        login = httpx.BasicAuth(self._client_id, self._secret.current() or "")
        trusted = ssl.create_default_context()
        if self._cafile is not None:
            trusted.load_verify_locations(self._cafile)
        try:
            with httpx.Client(verify=trusted, transport=self._transport, timeout=self._timeout) as client:
                response = client.post(self._url, data=wanted, auth=login)
        except (httpx.HTTPError, OSError) as error:
            problem = str(error) or type(error).__name__
            raise TokenUnavailable(f"{self._url} does not answer a request for a token: {problem}") from error
        try:
            answer = response.json()
            if not isinstance(answer, dict):
                answer = {}
        except ValueError:
            answer = {}
        if response.is_error:
            reason = ": ".join(str(answer[each]) for each in ("error", "error_description") if answer.get(each))
            raise TokenUnavailable(
                f"{self._url} gives the client {self._client_id!r} no token: HTTP {response.status_code}"
                + (f", {reason}" if reason else "")
            )
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise TokenUnavailable(f"{self._url} answers without an access_token")
        try:
            return token, float(answer.get("expires_in", 0))
        except (TypeError, ValueError):
            return token, 0.0


@lru_cache(maxsize=8)
def token_provider(settings: KafkaSettings) -> TokenProvider:
    """The provider that all clients of a process share.

    Args:
        settings: Where tokens come from, and who asks.

    Raises:
        ConfigurationError: a setting is missing, or the file of the secret cannot be read.
    """
    return TokenProvider(settings)
