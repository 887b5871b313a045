"""OpenID Connect: the authorization code flow with PKCE, state and nonce, and what the provider's word has to show.

What a sign-in is compared with when it comes back is in a cookie that only this process can read, so that whoever
begins many sign-ins fills no memory.
"""

import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from cryptography.fernet import Fernet, InvalidToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from attendance.kafka.credentials import Secret
from console.identity.groups import Identity
from console.identity.settings import SignInSettings, is_safe
from operations.console_users import is_name

LASTS: Final = timedelta(minutes=10)
"""So long somebody may take at the provider."""
_KEPT: Final = timedelta(hours=1)
_TIMEOUT: Final = 10.0
_SKEW: Final = 60  # seconds that two clocks may differ
_ALGORITHMS: Final = tuple(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512))
"""Signatures by a key that the provider alone has. `none` is none, and `HS256` would take a public key for a secret."""


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as one: somebody may try again."""


class IdentityRefused(Exception):
    """What came back proves nobody's identity. The message is for the log, and has nothing secret."""


class Metadata(msgspec.Struct, frozen=True):
    """What a provider says of itself (OpenID Connect Discovery)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that somebody has begun: what has to come back, and where they go then."""

    state: str
    nonce: str
    verifier: str
    back: str


@dataclass(frozen=True, slots=True)
class Start:
    """Where a browser is sent, and the cookie that it has to bring back."""

    address: str
    cookie: str


class OpenIdProvider:
    """One provider, and this console as its client."""

    def __init__(
        self,
        settings: SignInSettings,
        redirect: str,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            settings: Name the provider and the client.
            redirect: Where the provider sends browsers back to.
            clock: What time it is.
            transport: How it is reached; None for the network.

        Raises:
            ConfigurationError: the file of the secret cannot be read.
        """
        assert settings.oidc_issuer is not None
        assert settings.oidc_client_id is not None
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = Secret(
            "CONSOLE_OIDC_CLIENT_SECRET", settings.oidc_client_secret, settings.oidc_client_secret_file
        )
        self._redirect = redirect
        self._clock = clock
        self._transport = transport
        # Once, for reading the system's CAs takes longer than a request.
        self._trusted = ssl.create_default_context()
        self._seal = Fernet(Fernet.generate_key())
        self._metadata: Metadata | None = None
        self._read_at = clock()

    async def begin(self, back: str) -> Start:
        """Begin a sign-in.

        Args:
            back: Which page comes after it.

        Raises:
            ProviderUnavailable: the provider does not say where to sign in.
        """
        metadata = await self._known()
        begun = Begun(secrets.token_urlsafe(), secrets.token_urlsafe(), secrets.token_urlsafe(64), back)
        address = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self._client_id,
            response_type="code",
            redirect_uri=self._redirect,
            scope=self._settings.oidc_scope,
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        sealed = self._seal.encrypt_at_time(msgspec.json.encode(begun), self._seconds())
        return Start(address, sealed.decode())

    async def finish(self, cookie: str, answer: Mapping[str, str]) -> tuple[Identity, str]:
        """Finish a sign-in.

        Args:
            cookie: What `begin` gave the browser.
            answer: What the browser brought from the provider, in the query.

        Returns:
            Who it is, and the page that comes next.

        Raises:
            IdentityRefused: nobody's identity is proven.
            ProviderUnavailable: the provider does not answer.
        """
        begun = self._opened(cookie)
        if not compare_digest(begun.state.encode(), answer.get("state", "").encode(errors="replace")):
            raise IdentityRefused("the state is not that of this browser's sign-in")
        metadata = await self._known()
        issuer = answer.get("iss")
        if (issuer is None and metadata.authorization_response_iss_parameter_supported) or issuer not in (
            None,
            self._issuer,
        ):
            raise IdentityRefused("the answer is from another issuer")
        if "code" not in answer:
            raise IdentityRefused(f"the provider answered {answer.get('error', 'nothing')[:100]!r}")
        tokens = await self._tokens(metadata, answer["code"], begun)
        return self._identity(await self._claims(metadata, tokens, begun)), begun.back

    def _opened(self, cookie: str) -> Begun:
        try:
            content = self._seal.decrypt_at_time(
                cookie.encode(errors="replace"), int(LASTS.total_seconds()), self._seconds()
            )
        except InvalidToken as error:
            raise IdentityRefused("this browser has begun no sign-in, or too long ago") from error
        return msgspec.json.decode(content, type=Begun)

    async def _known(self) -> Metadata:
        """What the provider says of itself, asked for once an hour."""
        at = self._clock()
        if self._metadata is None or at - self._read_at > _KEPT:
            content = await self._ask("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                metadata = msgspec.convert(content, Metadata)
            except msgspec.ValidationError as error:
                raise ProviderUnavailable(f"{self._issuer} does not say where to sign in: {error}") from error
            if metadata.issuer != self._issuer:
                raise ProviderUnavailable(f"{self._issuer} calls itself {metadata.issuer!r}")
            for address in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
                if not is_safe(address):
                    raise ProviderUnavailable(f"{address!r}, which {self._issuer} names, is not https")
            self._metadata, self._read_at = metadata, at
        return self._metadata

    async def _tokens(self, metadata: Metadata, code: str, begun: Begun) -> dict[str, Any]:
        wanted = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": begun.verifier,
        }
        secret, login = self._secret.current(), None
        if secret is None:
            wanted["client_id"] = self._client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            login = httpx.BasicAuth(_quoted(self._client_id), _quoted(secret))
        else:
            wanted |= {"client_id": self._client_id, "client_secret": secret}
        return await self._ask("POST", metadata.token_endpoint, wanted, login)

    async def _claims(self, metadata: Metadata, tokens: dict[str, Any], begun: Begun) -> dict[str, Any]:
        """What the ID token says, once it is proven that the provider says it, to this client, of this sign-in."""
        # Asked for each time, for a provider changes its keys when it likes.
        keys = await self._ask("GET", metadata.jwks_uri)
        try:
            registry = JWSRegistry(algorithms=list(_ALGORITHMS), strict_check_header=False)
            token = jwt.decode(
                str(tokens.get("id_token", "")), KeySet.import_key_set(cast("Any", keys)), registry=registry
            )
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self._issuer},
                    "aud": {"essential": True, "value": self._client_id},
                },
                params={
                    "nonce": begun.nonce,
                    "client_id": self._client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(now=self._seconds(), leeway=_SKEW)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
            # Of the library's messages only the kind: some have a part of the token.
            raise IdentityRefused(f"the ID token is not good: {type(error).__name__}") from error
        return dict(claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        about = self._settings.oidc_name_claim
        name = claims.get(about)
        if not isinstance(name, str) or not is_name(name):
            raise IdentityRefused(f"the claim {about!r} is missing, or is no name")
        if about == "email" and claims.get("email_verified") is not True:
            raise IdentityRefused("the provider has not verified the email")
        groups = claims.get(self._settings.oidc_groups_claim) or []
        groups = groups if isinstance(groups, list) else [groups]
        return Identity(name, frozenset(map(str, groups)))

    async def _ask(
        self, method: str, address: str, form: dict[str, str] | None = None, login: httpx.Auth | None = None
    ) -> dict[str, Any]:
        """The JSON object that the provider answers."""
        try:
            async with httpx.AsyncClient(transport=self._transport, verify=self._trusted, timeout=_TIMEOUT) as client:
                response = await client.request(
                    method, address, data=form, auth=login, headers={"accept": "application/json"}
                )
            content = response.json()
        except (httpx.HTTPError, OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
            raise ProviderUnavailable(f"{address} does not answer: {problem}") from error
        said = content.get("error") if isinstance(content, dict) else None
        if response.is_client_error and form is not None:
            raise IdentityRefused(f"{address} refuses the code: HTTP {response.status_code}, {str(said)[:100]!r}")
        if response.is_error or not isinstance(content, dict):
            raise ProviderUnavailable(f"{address} answers HTTP {response.status_code}")
        return content

    def _seconds(self) -> int:
        return int(self._clock().timestamp())


def _quoted(text: str) -> str:
    """As client and secret are written in a Basic login (RFC 6749, 2.3.1)."""
    return quote(text, safe="")
