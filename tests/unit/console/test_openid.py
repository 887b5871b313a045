"""What an OpenID provider says counts where it proves itself, and nowhere else."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from openid_provider import CLIENT, EMAIL, SECRET, OpenIdServer
from signed_tokens import Signer

from attendance.errors import ConfigurationError
from console.identity.groups import Identity
from console.identity.openid import IdentityRefused, OpenIdProvider, ProviderUnavailable
from console.identity.settings import SignInSettings

REDIRECT = "https://punches.example/sign-in/openid/return"


class Now:
    """The time, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def client_of(server: OpenIdServer, clock: Now | None = None, **settings: Any) -> OpenIdProvider:
    asked = {"oidc_issuer": server.url, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET} | settings
    return OpenIdProvider(SignInSettings(_env_file=None, **asked), REDIRECT, clock or Now())


def sign_in(server: OpenIdServer, provider: OpenIdProvider, **changes: str) -> tuple[Identity, str]:
    start = asyncio.run(provider.begin("/devices"))
    return finish(provider, start.cookie, server.sign_in(start.address, **changes))


def finish(provider: OpenIdProvider, cookie: str, address: str) -> tuple[Identity, str]:
    answer = {key: value[0] for key, value in parse_qs(urlsplit(address).query).items()}
    return asyncio.run(provider.finish(cookie, answer))


def test_whoever_the_provider_knows_is_known_by_their_verified_email_and_groups(server: OpenIdServer) -> None:
    server.claims["groups"] = ["hr", "everybody"]
    identity, back = sign_in(server, client_of(server))
    assert identity == Identity(EMAIL, frozenset(("hr", "everybody")))
    assert back == "/devices"


def test_another_claim_may_be_the_name_and_one_group_may_stand_alone(server: OpenIdServer) -> None:
    server.claims |= {"upn": "fatima", "roles": "hr"}
    identity, _ = sign_in(server, client_of(server, oidc_name_claim="upn", oidc_groups_claim="roles"))
    assert identity == Identity("fatima", frozenset(("hr",)))


def test_each_sign_in_has_its_own_state_nonce_and_challenge(server: OpenIdServer) -> None:
    provider = client_of(server)
    queries = [parse_qs(urlsplit(asyncio.run(provider.begin("/")).address).query) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert queries[0][name] != queries[1][name]
        assert len(queries[0][name][0]) >= 43


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": [CLIENT, "another client"]},
        {"aud": [CLIENT], "azp": "another client"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": round(time.time()) - 3600},
        {"exp": "never"},
        {"exp": None},
        {"iat": round(time.time()) + 3600},
        {"nbf": round(time.time()) + 3600},
        {"sub": None},
        {"at_hash": "wrong"},
        {"email": None},
        {"email": ["fatima@example.com"]},
        {"email": "fatima@example.com\n"},
        {"email": ""},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
    ],
)
def test_a_word_that_is_not_for_this_sign_in_lets_nobody_in(server: OpenIdServer, claims: dict[str, object]) -> None:
    server.claims = claims
    with pytest.raises(IdentityRefused):
        sign_in(server, client_of(server))


def encoded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def unsigned(token: str) -> str:
    return f"{encoded({'alg': 'none', 'kid': '1'})}.{token.split('.')[1]}."


def changed(token: str) -> str:
    head, content, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(content + "=="))
    return f"{head}.{encoded(claims | {'email': 'root@example.com'})}.{signature}"


def of_another_key(token: str) -> str:
    _, content, signature = token.split(".")
    return f"{encoded({'alg': 'RS256', 'kid': '2'})}.{content}.{signature}"


def cut(token: str) -> str:
    return token[:-4]


def nothing(token: str) -> str:
    return ""


def no_token(token: str) -> str:
    return "a.b.c"


@pytest.mark.parametrize("forge", [unsigned, changed, of_another_key, cut, nothing, no_token])
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(server: OpenIdServer, forge: Any) -> None:
    server.forge = forge
    with pytest.raises(IdentityRefused):
        sign_in(server, client_of(server))


def test_the_public_key_is_no_secret_with_which_a_token_can_be_signed(server: OpenIdServer, signer: Signer) -> None:
    def by_the_public_key(token: str) -> str:
        content = f"{encoded({'alg': 'HS256', 'kid': '1'})}.{token.split('.')[1]}"
        key = json.dumps(signer.key_set()["keys"][0]).encode()
        made = hmac.new(key, content.encode(), hashlib.sha256).digest()
        return f"{content}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"

    server.forge = by_the_public_key
    with pytest.raises(IdentityRefused):
        sign_in(server, client_of(server))


def test_a_key_that_another_has_signs_nothing(server: OpenIdServer, tmp_path: Path) -> None:
    server.signer = Signer(tmp_path, "another")
    with pytest.raises(IdentityRefused):
        sign_in(server, client_of(server))


@pytest.mark.parametrize("changes", [{"state": "guessed"}, {"state": ""}, {"iss": "https://evil.example"}])
def test_an_answer_to_another_sign_in_is_refused_before_the_provider_is_asked(
    server: OpenIdServer, changes: dict[str, str]
) -> None:
    with pytest.raises(IdentityRefused):
        sign_in(server, client_of(server), **changes)
    assert "/token" not in server.asked


def test_a_code_counts_once(server: OpenIdServer) -> None:
    provider = client_of(server)
    start = asyncio.run(provider.begin("/"))
    address = server.sign_in(start.address)
    finish(provider, start.cookie, address)
    with pytest.raises(IdentityRefused, match="invalid_grant"):
        finish(provider, start.cookie, address)


def test_a_code_that_somebody_else_asked_for_is_refused(server: OpenIdServer) -> None:
    provider = client_of(server)
    mine, theirs = asyncio.run(provider.begin("/")), asyncio.run(provider.begin("/"))
    code = parse_qs(urlsplit(server.sign_in(theirs.address)).query)["code"][0]
    with pytest.raises(IdentityRefused, match="invalid_grant"):
        finish(provider, mine.cookie, server.sign_in(mine.address, code=code))


@pytest.mark.parametrize("cookie", ["", "x", "\udcff", "gAAAAA"])
def test_a_browser_that_began_nothing_is_refused(server: OpenIdServer, cookie: str) -> None:
    provider = client_of(server)
    address = server.sign_in(asyncio.run(provider.begin("/")).address)
    with pytest.raises(IdentityRefused, match="begun no sign-in"):
        finish(provider, cookie, address)


def test_a_sign_in_that_takes_too_long_is_refused(server: OpenIdServer) -> None:
    clock = Now()
    provider = client_of(server, clock)
    start = asyncio.run(provider.begin("/"))
    address = server.sign_in(start.address)
    clock.ahead = timedelta(minutes=11)
    with pytest.raises(IdentityRefused, match="too long ago"):
        finish(provider, start.cookie, address)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": 7},
        {"token_endpoint": None},
    ],
)
def test_a_provider_that_is_another_than_was_set_is_not_used(server: OpenIdServer, metadata: dict[str, Any]) -> None:
    server.metadata = metadata
    with pytest.raises(ProviderUnavailable):
        asyncio.run(client_of(server).begin("/"))


def test_a_provider_that_does_not_answer_is_unavailable(server: OpenIdServer) -> None:
    with pytest.raises(ProviderUnavailable, match="does not answer"):
        asyncio.run(client_of(server, oidc_issuer="http://127.0.0.1:1").begin("/"))


def test_neither_a_message_nor_a_setting_shows_the_secret(server: OpenIdServer) -> None:
    provider = client_of(server, oidc_client_secret="a wrong secret")
    with pytest.raises(IdentityRefused, match="invalid_client") as refused:
        sign_in(server, provider)
    assert "a wrong secret" not in str(refused.value)
    assert "a wrong secret" not in repr(SignInSettings(_env_file=None, oidc_client_secret="a wrong secret"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"CONSOLE_OIDC_ISSUER": "http://id.example", "CONSOLE_OIDC_CLIENT_ID": "x"}, "CONSOLE_OIDC_ISSUER"),
        ({"CONSOLE_OIDC_ISSUER": "https://id.example"}, "CONSOLE_OIDC_CLIENT_ID"),
        ({"CONSOLE_OIDC_SCOPE": "email"}, "CONSOLE_OIDC_SCOPE"),
        ({"CONSOLE_PROXY_HEADER": "Remote-User"}, "CONSOLE_TRUSTED_PROXIES"),
        ({"CONSOLE_PASSWORDS": "false"}, "CONSOLE_PASSWORDS"),
        ({"CONSOLE_GROUP_ROLES": "people=owner"}, "CONSOLE_GROUP_ROLES"),
        ({"CONSOLE_GROUP_ROLES": "people"}, "CONSOLE_GROUP_ROLES"),
        ({"CONSOLE_GROUP_ROLES": "people=hr:"}, "CONSOLE_GROUP_ROLES"),
    ],
)
def test_a_setting_that_would_let_in_the_wrong_people_or_nobody_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], named: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=named):
        SignInSettings.load(_env_file=None)
