"""Who may use the console."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from memory_log import MemoryLog
from passwords import hash_quickly

from attendance.errors import ConfigurationError
from operations import console_users
from operations.console_users import (
    LastAdministrator,
    add_token,
    add_user,
    change_password,
    change_role,
    new_password,
    read_console_users,
    remove_token,
    remove_user,
    set_disabled,
)
from operations.log import Skipped

PASSWORD = "a long password"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hash_quickly(monkeypatch)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def add(log: MemoryLog, name: str = "fatima", password: str = PASSWORD) -> None:
    asyncio.run(add_user(log, name, password, "root", Skipped()))


def verified(log: MemoryLog, name: str, password: str) -> bool:
    async def ask() -> bool:
        return await (await read_console_users(log, Skipped())).verify(name, password) is not None

    return asyncio.run(ask())


def test_whoever_was_added_has_that_password_and_no_other(log: MemoryLog) -> None:
    add(log)
    assert verified(log, "fatima", PASSWORD)
    assert not verified(log, "fatima", PASSWORD + " ")
    assert not verified(log, "Fatima", PASSWORD)


def test_the_topic_has_what_argon2_makes_of_the_password_with_its_own_parameters(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_users, "PasswordHasher", PasswordHasher)
    add(log)
    user = asyncio.run(read_console_users(log, Skipped())).user("fatima")
    assert user is not None
    assert PASSWORD.encode() not in user.encode()
    assert user.password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert verified(log, "fatima", PASSWORD)
    assert not verified(log, "fatima", PASSWORD + " ")


def test_a_name_is_not_added_twice(log: MemoryLog) -> None:
    add(log)
    with pytest.raises(ConfigurationError, match="there already"):
        add(log, password="another long password")
    assert verified(log, "fatima", PASSWORD)


@pytest.mark.parametrize("name", ["", " fatima", "fa\ntima", "x" * 101, "\u202efatima"])
def test_a_name_that_cannot_be_is_refused(log: MemoryLog, name: str) -> None:
    with pytest.raises(ConfigurationError, match="NAME"):
        add(log, name=name)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_is_refused(log: MemoryLog, password: str) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        add(log, password=password)


def test_whatever_changes_somebody_ends_their_sessions(log: MemoryLog) -> None:
    add(log)
    changes = (
        lambda: change_password(log, "fatima", "another long password", "root", Skipped()),
        lambda: set_disabled(log, "fatima", "root", Skipped(), disabled=True),
        lambda: set_disabled(log, "fatima", "root", Skipped(), disabled=False),
    )
    assert [asyncio.run(change()).epoch for change in changes] == [1, 2, 3]
    assert verified(log, "fatima", "another long password")


def test_whoever_is_disabled_or_removed_is_kept_out(log: MemoryLog) -> None:
    add(log)
    asyncio.run(set_disabled(log, "fatima", "root", Skipped(), disabled=True))
    assert not verified(log, "fatima", PASSWORD)
    asyncio.run(remove_user(log, "fatima", Skipped()))
    assert not verified(log, "fatima", PASSWORD)
    assert not len(asyncio.run(read_console_users(log, Skipped())))


def test_the_first_is_an_administrator_and_the_last_one_stays_where_that_is_asked(log: MemoryLog) -> None:
    add(log)
    add(log, "omar")
    assert [each.role for each in asyncio.run(read_console_users(log, Skipped())).all()] == ["administrator", "viewer"]
    for change in (
        lambda: change_role(log, "fatima", "root", Skipped(), role="hr", keep_last=True),
        lambda: set_disabled(log, "fatima", "root", Skipped(), disabled=True, keep_last=True),
        lambda: remove_user(log, "fatima", Skipped(), keep_last=True),
    ):
        with pytest.raises(LastAdministrator):
            asyncio.run(change())
    asyncio.run(change_role(log, "omar", "root", Skipped(), role="administrator"))
    sites = ["b", "a", "b"]
    changed = asyncio.run(change_role(log, "fatima", "root", Skipped(), role="hr", sites=sites, keep_last=True))
    assert changed.sites == ("a", "b")


def test_a_token_is_known_again_until_its_time_and_no_other_text_is(log: MemoryLog) -> None:
    until = datetime(2026, 3, 2, tzinfo=UTC)
    token, text = asyncio.run(add_token(log, "payroll", "root", role="viewer", expires_at=until))
    known = asyncio.run(read_console_users(log, Skipped()))
    shown = known.token(text, until - timedelta(seconds=1))
    assert shown is not None
    assert (shown.id, shown.role, shown.digest) == (token.id, "viewer", token.digest)
    for other in ("", text[:-1], text + "x", text.replace("punchstream_", ""), f"punchstream_{token.id}_"):
        assert known.token(other, until - timedelta(seconds=1)) is None
    assert known.token(text, until) is None
    asyncio.run(remove_token(log, token.id, Skipped()))
    assert asyncio.run(read_console_users(log, Skipped())).tokens() == []


def test_somebody_who_is_not_there_cannot_be_changed(log: MemoryLog) -> None:
    with pytest.raises(ConfigurationError, match="nobody called"):
        asyncio.run(remove_user(log, "fatima", Skipped()))


def test_passwords_that_are_made_are_long_and_differ() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 20
