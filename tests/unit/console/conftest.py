"""A console over a short story."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_site import ConsoleSite, story
from openid_provider import OpenIdServer
from signed_tokens import Signer


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A key that takes a while to make."""
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def server(signer: Signer) -> Iterator[OpenIdServer]:
    """An OpenID provider."""
    with OpenIdServer(signer) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ConsoleSite]:
    console = ConsoleSite(tmp_path, story())
    yield console
    console.database.close()
