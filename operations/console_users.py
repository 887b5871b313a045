"""Who may use the console: their entries on the topic, and whether a password is theirs.

The topic has what argon2 makes of a password, so that whoever reads it cannot sign in.
"""

import asyncio
import secrets
from typing import Final

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec.structs import replace

from attendance.errors import ConfigurationError, InvalidRecord
from attendance.kafka.records import OutRecord, Record
from attendance.records.console_user import ConsoleUser, decode_key
from attendance.times import now
from operations.log import Log, Skipped, take_all

log = structlog.get_logger(__name__)

SHORTEST: Final = 12
"""Characters of a password."""
LONGEST: Final = 1_024
"""Bytes of a password: what is longer costs whoever checks it, and nobody types it."""
MOST_LETTERS: Final = 100
_GENERATED_BYTES: Final = 18


class ConsoleUsers:
    """Everybody who may use the console. Fed record by record."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """There is nobody yet.

        Args:
            hasher: Checks passwords; None for argon2's own parameters.
        """
        self._users: dict[str, ConsoleUser] = {}
        self._hasher = hasher or PasswordHasher()
        # An unknown name costs what a known one costs, so that the time does not say which there are.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())
        self.caught_up = asyncio.Event()

    def __len__(self) -> int:
        return len(self._users)

    def all(self) -> list[ConsoleUser]:
        """Everybody, by name."""
        return [self._users[name] for name in sorted(self._users)]

    def apply(self, record: Record) -> None:
        """Take in one record of the topic.

        Args:
            record: One without a value removes somebody.

        Raises:
            InvalidRecord: it is something else; nobody is changed.
        """
        if record.value is None:
            self._users.pop(decode_key(record.key).name, None)
        else:
            user = ConsoleUser.decode(record.key, record.value)
            self._users[user.name] = user

    def learn(self, record: Record) -> None:
        """Take in one record, or log that it cannot be read: an entry that nobody understands lets nobody in."""
        try:
            self.apply(record)
        except InvalidRecord as error:
            log.error("An entry of the console's users cannot be read.", error=error.message)

    def user(self, name: str) -> ConsoleUser | None:
        """Somebody by name; None where there is no such entry."""
        return self._users.get(name)

    async def verify(self, name: str, password: str) -> ConsoleUser | None:
        """Whoever has that name and that password; None where nobody has, or is disabled.

        Args:
            name: Of anybody.
            password: Any text.
        """
        user = self._users.get(name)
        expected = self._nobody if user is None else user.password
        # In a thread: it takes tens of milliseconds, on purpose.
        is_right = await asyncio.to_thread(self._is_right, expected, password)
        return user if is_right and user is not None and not user.disabled else None

    def _is_right(self, expected: str, password: str) -> bool:
        given = password.encode(errors="replace")
        if len(given) > LONGEST:
            return False
        try:
            return self._hasher.verify(expected, given)
        except (VerificationError, InvalidHashError):
            return False


async def read_console_users(log_: Log, skipped: Skipped) -> ConsoleUsers:
    """Everybody who may use the console.

    Args:
        log_: The topics.
        skipped: Where the records are counted that cannot be read.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    found = ConsoleUsers()
    await take_all(log_, "console_users", found.apply, skipped)
    return found


async def add_user(log_: Log, name: str, password: str, by: str, skipped: Skipped) -> ConsoleUser:
    """Let somebody use the console.

    Args:
        log_: The topics.
        name: By which they sign in.
        password: With which.
        by: Who does it.
        skipped: As in `read_console_users`.

    Returns:
        Their entry.

    Raises:
        ConfigurationError: there is somebody of that name, or name or password cannot be.
        KafkaUnavailable: Kafka does not answer; they may be there or not.
    """
    _check_name(name)
    _check_password(password)
    known = await read_console_users(log_, skipped)
    if known.user(name) is not None:
        raise ConfigurationError(f"NAME: {name} is there already; `console user password` changes the password")
    return await _write(log_, ConsoleUser(name, _hash(password), now(), by))


async def change_password(log_: Log, name: str, password: str, by: str, skipped: Skipped) -> ConsoleUser:
    """Give somebody another password, and end their sessions. Takes, returns and raises what `add_user` does."""
    _check_password(password)
    user = await _known(log_, name, skipped)
    return await _write(log_, _changed(user, by, password=_hash(password)))


async def set_disabled(log_: Log, name: str, by: str, skipped: Skipped, *, disabled: bool) -> ConsoleUser:
    """Keep somebody out, and end their sessions, or let them in again.

    Args:
        log_: The topics.
        name: Who.
        by: Who does it.
        skipped: As in `read_console_users`.
        disabled: Whether they are kept out.

    Raises:
        ConfigurationError: there is nobody of that name.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    user = await _known(log_, name, skipped)
    return await _write(log_, _changed(user, by, disabled=disabled))


async def remove_user(log_: Log, name: str, skipped: Skipped) -> None:
    """Remove somebody, and end their sessions. Takes and raises what `set_disabled` does."""
    user = await _known(log_, name, skipped)
    async with log_.sending() as send:
        await send(OutRecord(log_.topics["console_users"], user.key, None))


def new_password() -> str:
    """A password that nobody can guess."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


async def _known(log_: Log, name: str, skipped: Skipped) -> ConsoleUser:
    user = (await read_console_users(log_, skipped)).user(name)
    if user is None:
        raise ConfigurationError(f"NAME: there is nobody called {name}; `console user list` has all")
    return user


async def _write(log_: Log, user: ConsoleUser) -> ConsoleUser:
    async with log_.sending() as send:
        await send(OutRecord(log_.topics["console_users"], user.key, user.encode()))
    return user


def _changed(user: ConsoleUser, by: str, **fields: str | bool) -> ConsoleUser:
    return replace(user, epoch=user.epoch + 1, changed_at=now(), changed_by=by, **fields)


def _hash(password: str) -> str:
    return PasswordHasher().hash(password)


def _check_name(name: str) -> None:
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= MOST_LETTERS:
        raise ConfigurationError(f"NAME: 1 to {MOST_LETTERS} characters, without a blank before or after them")


def _check_password(password: str) -> None:
    if len(password) < SHORTEST:
        raise ConfigurationError(f"the password needs {SHORTEST} characters or more")
    if len(password.encode(errors="replace")) > LONGEST:
        raise ConfigurationError(f"the password is longer than {LONGEST} bytes")
