"""The users of the site, with their keys and roles."""

from dataclasses import dataclass
from typing import Final

HR: Final = "HR Manager"
HR_USER_ROLE: Final = "HR User"
SYSTEM_MANAGER: Final = "System Manager"
SYNC: Final = "Biometric Sync"
ADMINISTRATOR: Final = "Administrator"
"""Whom the scheduler works for."""


@dataclass(frozen=True)
class User:
    """Someone with a key pair. `roles` decide what is permitted."""

    name: str
    api_key: str
    api_secret: str
    roles: frozenset[str]


GUEST: Final = User("Guest", "", "", frozenset())
ADMIN: Final = User(
    "checkin-api@example.com",
    "admin-key",
    "admin-secret",
    frozenset({HR, SYSTEM_MANAGER}),
)
HR_USER: Final = User(
    "hruser@example.com",
    "hr-key",
    "hr-secret",
    frozenset({HR}),
)
HR_CLERK: Final = User(
    "hruser-api@example.com",
    "clerk-key",
    "clerk-secret",
    frozenset({HR_USER_ROLE}),
)
NO_ROLE_USER: Final = User(
    "nohr@example.com",
    "nohr-key",
    "nohr-secret",
    frozenset(),
)
SYNC_USER: Final = User(
    "sync-api@example.com",
    "sync-key",
    "sync-secret",
    frozenset({HR_USER_ROLE, SYNC}),
)
USERS: Final = (ADMIN, HR_USER, HR_CLERK, NO_ROLE_USER, SYNC_USER)
