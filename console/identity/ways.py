"""The ways in: by password, by a proxy that signs people in, and by an OpenID provider."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Literal

import httpx
from starlette.requests import Request

from attendance.errors import ConfigurationError
from attendance.proxies import Proxies
from attendance.times import now
from console.identity.groups import Grant, Identity, granted, group_roles
from console.identity.openid import OpenIdProvider
from console.identity.settings import SignInSettings
from operations.console_users import is_name

Way = Literal["password", "proxy", "openid"]
RETURN: Final = "/sign-in/openid/return"
"""Where a provider sends browsers back to."""
_MOST_GROUPS: Final = 500


class Ways:
    """How people may sign in."""

    def __init__(
        self,
        settings: SignInSettings | None = None,
        url: str | None = None,
        clock: Callable[[], datetime] = now,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            settings: Which ways there are; None for a password alone.
            url: Under which address browsers reach the console.
            clock: What time it is.
            transport: How a provider is reached; None for the network.

        Raises:
            ConfigurationError: the settings do not fit one another.
        """
        settings = settings or SignInSettings.model_construct()
        if settings.oidc_issuer is not None and url is None:
            raise ConfigurationError("CONSOLE_URL: needed with CONSOLE_OIDC_ISSUER: the provider sends browsers there")
        self.passwords = settings.passwords
        self.provider = None
        if settings.oidc_issuer is not None:
            self.provider = OpenIdProvider(settings, f"{url}{RETURN}", clock, transport)
        self._proxies = Proxies(settings.trusted_proxies)
        self._header = settings.proxy_header
        self._groups_header = settings.proxy_groups_header
        self._roles = group_roles(settings.group_roles)

    def client(self, request: Request) -> str:
        """The address of whoever a request is from, where a trusted proxy passes it on too."""
        address = request.client.host if request.client else ""
        return self._proxies.client(address, request.scope["headers"]) if self._proxies.are_at(address) else address

    def by_proxy(self, request: Request) -> Identity | None:
        """Who a proxy says that a request is from; None where none does that may say so."""
        if self._header is None or request.client is None or not self._proxies.are_at(request.client.host):
            return None
        # Of two headers one may be what the browser itself sent.
        said = request.headers.getlist(self._header)
        if len(said) != 1 or not is_name(said[0]):
            return None
        groups: list[str] = []
        if self._groups_header is not None:
            of_groups = request.headers.getlist(self._groups_header)
            groups = of_groups[0].split(",")[:_MOST_GROUPS] if len(of_groups) == 1 else []
        return Identity(said[0], frozenset(group for each in groups if (group := each.strip())))

    def grant(self, groups: Iterable[str]) -> Grant | None:
        """What groups give to somebody who has no account; None for nothing."""
        return granted(self._roles, groups)
