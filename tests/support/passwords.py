"""Passwords that cost a test nothing."""

from typing import Final

import pytest
from argon2 import PasswordHasher

from operations import console_users

QUICK: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""A test signs in often, and nobody guesses."""


def hash_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every password of this test is hashed by `QUICK`."""
    monkeypatch.setattr(console_users, "PasswordHasher", lambda: QUICK)
