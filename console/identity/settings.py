"""The settings of signing in."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from attendance.name_lists import name_list
from attendance.settings import SettingsGroup
from console.hosts import LOOPBACK
from console.identity.groups import group_roles

_HEADER = r"^[A-Za-z0-9-]{1,100}$"


class SignInSettings(SettingsGroup):
    """Signing in to the console: by password, by a proxy, or by OpenID Connect."""

    model_config = SettingsConfigDict(env_prefix="CONSOLE_")

    passwords: bool = Field(
        True, description="Whether people sign in by a password. Off only where a proxy or a provider signs them in."
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(name_list)] = Field(
        (),
        description="Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` and"
        " `CONSOLE_PROXY_HEADER` are believed.",
    )
    proxy_header: str | None = Field(
        None, pattern=_HEADER, description="The header in which these proxies say who somebody is, as `Remote-User`."
    )
    proxy_groups_header: str | None = Field(
        None, pattern=_HEADER, description="The header in which they say the groups, separated by commas."
    )
    oidc_issuer: str | None = Field(
        None, description="The OpenID provider, such as `https://id.example.com/realms/work`, as it names itself."
    )
    oidc_client_id: str | None = Field(None, description="As which client the console is known there.")
    oidc_client_secret: SecretStr | None = Field(None, description="Secret of that client.")
    oidc_client_secret_file: Path | None = Field(
        None, description="File with that secret instead, read whenever somebody signs in."
    )
    oidc_scope: str = Field("openid email profile", description="What the provider is asked for, `openid` among it.")
    oidc_name_claim: str = Field(
        "email",
        description="What of the provider's word is the name here. It must be one that nobody can choose for"
        " themselves. An `email` counts only where the provider has verified it.",
    )
    oidc_groups_claim: str = Field("groups", description="What of the provider's word has somebody's groups.")
    group_roles: str = Field(
        "",
        description="What people may do who have no account: `GROUP=ROLE` or `GROUP=ROLE:SITE|SITE`, separated by `;`."
        " The first group that somebody is in decides the role: `viewer`, `hr`, `it` or `administrator`.",
    )

    @field_validator("group_roles")
    @classmethod
    def _says_roles(cls, text: str) -> str:
        group_roles(text)
        return text

    @field_validator("oidc_issuer")
    @classmethod
    def _is_over_tls(cls, issuer: str | None) -> str | None:
        if issuer is not None and not is_safe(issuer):
            raise ValueError("an address that begins with https://; http:// only on this machine")
        return issuer

    @field_validator("oidc_scope")
    @classmethod
    def _asks_for_an_identity(cls, scope: str) -> str:
        if "openid" not in re.split(r"\s+", scope):
            raise ValueError("it must have openid among it")
        return scope

    @model_validator(mode="after")
    def _has_a_way_in(self) -> Self:
        if self.proxy_header is not None and not self.trusted_proxies:
            raise ValueError("CONSOLE_TRUSTED_PROXIES: needed with CONSOLE_PROXY_HEADER: anybody can send a header")
        if (self.oidc_issuer is None) != (self.oidc_client_id is None):
            raise ValueError("CONSOLE_OIDC_ISSUER and CONSOLE_OIDC_CLIENT_ID: both or neither")
        if not self.passwords and self.proxy_header is None and self.oidc_issuer is None:
            raise ValueError("CONSOLE_PASSWORDS: nobody could sign in; set CONSOLE_PROXY_HEADER or CONSOLE_OIDC_ISSUER")
        return self


def is_safe(address: str) -> bool:
    """Whether what is sent to an address can be read by nobody on the way.

    Args:
        address: A URL.
    """
    parts = urlsplit(address)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))
