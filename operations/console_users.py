"""Who may use the console: their entries on the topic, whether a password is theirs, and the tokens of its API.

The topic has what argon2 makes of a password, and the digest of a token, so that whoever reads it cannot come in.
"""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec.structs import replace

from attendance.errors import ConfigurationError, InvalidRecord
from attendance.kafka.records import OutRecord, Record
from attendance.records.console_user import ApiToken, ApiTokenKey, ConsoleUser, Role, decode_key
from attendance.times import now
from operations.log import Log, Skipped, take_all

log = structlog.get_logger(__name__)

SHORTEST: Final = 12
"""Characters of a password."""
LONGEST: Final = 1_024
"""Bytes of a password: what is longer costs whoever checks it, and nobody types it."""
MOST_LETTERS: Final = 100
_GENERATED_BYTES: Final = 18
_ID_BYTES: Final = 6
TOKEN_MARK: Final = "punchstream_"  # noqa: S105 - it opens nothing
"""Every token begins so: whoever finds one knows what it is."""


class UnknownAccount(ConfigurationError):
    """There is nobody of that name."""


class AdministratorOfSites(ConfigurationError):
    """An administrator sees every site."""


class LastAdministrator(ConfigurationError):
    """Nobody would be left who may give others the right to use the console."""


class ConsoleUsers:
    """Everybody who may use the console. Fed record by record."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """There is nobody yet.

        Args:
            hasher: Checks passwords; None for argon2's own parameters.
        """
        self._users: dict[str, ConsoleUser] = {}
        self._tokens: dict[str, ApiToken] = {}
        self._hasher = hasher or PasswordHasher()
        # An unknown name costs what a known one costs, so that the time does not say which there are.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())
        self.caught_up = asyncio.Event()

    def __len__(self) -> int:
        return len(self._users)

    def all(self) -> list[ConsoleUser]:
        """Everybody, by name."""
        return [self._users[name] for name in sorted(self._users)]

    def tokens(self) -> list[ApiToken]:
        """Every token, by when it was made."""
        return sorted(self._tokens.values(), key=lambda each: (each.made_at, each.id))

    def administrators(self) -> list[str]:
        """Those who may give others the right to use the console, and are not kept out."""
        return [each.name for each in self.all() if each.role == "administrator" and not each.disabled]

    def apply(self, record: Record) -> None:
        """Take in one record of the topic.

        Args:
            record: One without a value removes somebody, or a token.

        Raises:
            InvalidRecord: it is something else; nobody is changed.
        """
        about = decode_key(record.key)
        if isinstance(about, ApiTokenKey):
            self._tokens.pop(about.id, None)
            if record.value is not None:
                self._tokens[about.id] = ApiToken.decode(record.key, record.value)
        elif record.value is None:
            self._users.pop(about.name, None)
        else:
            self._users[about.name] = ConsoleUser.decode(record.key, record.value)

    def put(self, entry: ConsoleUser | ApiToken) -> None:
        """Take in an entry that was just written, before its record comes back."""
        if isinstance(entry, ConsoleUser):
            self._users[entry.name] = entry
        else:
            self._tokens[entry.id] = entry

    def forget(self, name: str) -> None:
        """Take in that somebody was just removed."""
        self._users.pop(name, None)

    def forget_token(self, id_: str) -> None:
        """Take in that a token was just removed."""
        self._tokens.pop(id_, None)

    def learn(self, record: Record) -> None:
        """Take in one record, or log that it cannot be read: an entry that nobody understands lets nobody in."""
        try:
            self.apply(record)
        except InvalidRecord as error:
            log.error("An entry of the console's users cannot be read.", error=error.message)

    def user(self, name: str) -> ConsoleUser | None:
        """Somebody by name; None where there is no such entry."""
        return self._users.get(name)

    def token(self, text: str, at: datetime) -> ApiToken | None:
        """The token that a program shows; None where there is no such one, or its time is over.

        Args:
            text: What it shows.
            at: What time it is.
        """
        id_, _, _ = text.removeprefix(TOKEN_MARK).partition("_")
        known = self._tokens.get(id_)
        if known is None or not secrets.compare_digest(known.digest, _digest(text)):
            return None
        return None if known.expires_at is not None and known.expires_at <= at else known

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

    def has_old_hash(self, user: ConsoleUser) -> bool:
        """Whether what argon2 made of a password has other parameters than those of today."""
        return self._hasher.check_needs_rehash(user.password)

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


async def add_user(
    log_: Log,
    name: str,
    password: str,
    by: str,
    skipped: Skipped,
    *,
    role: Role | None = None,
    sites: Sequence[str] | None = None,
) -> ConsoleUser:
    """Let somebody use the console.

    Args:
        log_: The topics.
        name: By which they sign in.
        password: With which.
        by: Who does it.
        skipped: As in `read_console_users`.
        role: What they may do. None is all of it where nobody may do that yet, and to look otherwise.
        sites: The sites that they see; None for every one.

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
    role = role or ("viewer" if known.administrators() else "administrator")
    return await _write(log_, ConsoleUser(name, _hash(password), now(), by, role=role, sites=_sites(role, sites)))


async def change_role(
    log_: Log,
    name: str,
    by: str,
    skipped: Skipped,
    *,
    role: Role,
    sites: Sequence[str] | None = None,
    keep_last: bool = False,
) -> ConsoleUser:
    """Give somebody another role, or other sites. Their sessions go on with it.

    Args:
        log_: The topics.
        name: Who.
        by: Who does it.
        skipped: As in `read_console_users`.
        role: What they may do from now on.
        sites: The sites that they see from now on; None for every one.
        keep_last: Whether the last administrator stays one.

    Raises:
        UnknownAccount: there is nobody of that name.
        ConfigurationError: a site has no name.
        LastAdministrator: with `keep_last`, nobody else is an administrator.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    known = await read_console_users(log_, skipped)
    user = _named(known, name)
    if keep_last and role != "administrator":
        _refuse_last(known, name)
    return await _write(log_, replace(user, changed_at=now(), changed_by=by, role=role, sites=_sites(role, sites)))


async def change_password(log_: Log, name: str, password: str, by: str, skipped: Skipped) -> ConsoleUser:
    """Give somebody another password, and end their sessions. Takes, returns and raises what `add_user` does."""
    _check_password(password)
    user = _named(await read_console_users(log_, skipped), name)
    return await _write(log_, _changed(user, by, password=_hash(password)))


async def renew_hash(log_: Log, user: ConsoleUser, password: str, skipped: Skipped) -> None:
    """Make the hash of a password anew, with the parameters of today. Sessions go on.

    Args:
        log_: The topics.
        user: Whose, as they signed in.
        password: With which they did.
        skipped: As in `read_console_users`.

    Raises:
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    made = replace(user, password=await asyncio.to_thread(_hash, password))
    # Whoever was changed meanwhile may have another password, which this one must not replace.
    if (await read_console_users(log_, skipped)).user(user.name) == user:
        await _write(log_, made)


async def set_disabled(
    log_: Log, name: str, by: str, skipped: Skipped, *, disabled: bool, keep_last: bool = False
) -> ConsoleUser:
    """Keep somebody out, and end their sessions, or let them in again.

    Args:
        log_: The topics.
        name: Who.
        by: Who does it.
        skipped: As in `read_console_users`.
        disabled: Whether they are kept out.
        keep_last: Whether the last administrator is not.

    Raises:
        UnknownAccount: there is nobody of that name.
        LastAdministrator: with `keep_last`, nobody else is an administrator.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    known = await read_console_users(log_, skipped)
    user = _named(known, name)
    if disabled and keep_last:
        _refuse_last(known, name)
    return await _write(log_, _changed(user, by, disabled=disabled))


async def remove_user(log_: Log, name: str, skipped: Skipped, *, keep_last: bool = False) -> None:
    """Remove somebody, and end their sessions. Takes and raises what `set_disabled` does."""
    known = await read_console_users(log_, skipped)
    user = _named(known, name)
    if keep_last:
        _refuse_last(known, name)
    async with log_.sending() as send:
        await send(OutRecord(log_.topics["console_users"], user.key, None))


async def add_token(
    log_: Log,
    name: str,
    by: str,
    *,
    role: Role,
    sites: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """Make a token of the API.

    Args:
        log_: The topics.
        name: What it is for.
        by: Who makes it.
        role: What whoever has it may do.
        sites: The sites that they see; None for every one.
        expires_at: Until when it is good; None for ever.

    Returns:
        Its entry, and the token, which nobody can find out again.

    Raises:
        ConfigurationError: the name cannot be, or a site has no name.
        KafkaUnavailable: Kafka does not answer; it may be there or not.
    """
    _check_name(name)
    id_ = secrets.token_hex(_ID_BYTES)
    text = f"{TOKEN_MARK}{id_}_{secrets.token_urlsafe(_GENERATED_BYTES)}"
    token = ApiToken(id_, name, _digest(text), now(), by, role, _sites(role, sites), expires_at)
    async with log_.sending() as send:
        await send(OutRecord(log_.topics["console_users"], token.key, token.encode()))
    return token, text


async def remove_token(log_: Log, id_: str, skipped: Skipped) -> ApiToken:
    """Remove a token: it is refused from then on.

    Args:
        log_: The topics.
        id_: Of which one.
        skipped: As in `read_console_users`.

    Returns:
        Its entry, as it was.

    Raises:
        ConfigurationError: there is no such token.
        KafkaUnavailable: Kafka does not answer; it may be done or not.
    """
    known = await read_console_users(log_, skipped)
    token = next((each for each in known.tokens() if each.id == id_), None)
    if token is None:
        raise ConfigurationError(f"ID: there is no token {id_}; `console token list` has all")
    async with log_.sending() as send:
        await send(OutRecord(log_.topics["console_users"], token.key, None))
    return token


def new_password() -> str:
    """A password that nobody can guess."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def _named(known: ConsoleUsers, name: str) -> ConsoleUser:
    user = known.user(name)
    if user is None:
        raise UnknownAccount(f"NAME: there is nobody called {name}; `console user list` has all")
    return user


def _refuse_last(known: ConsoleUsers, name: str) -> None:
    if known.administrators() == [name]:
        raise LastAdministrator(f"NAME: {name} is the last administrator; make another one first")


def _sites(role: Role, sites: Sequence[str] | None) -> tuple[str, ...] | None:
    if sites is None:
        return None
    if role == "administrator":
        # They could give themselves the others.
        raise AdministratorOfSites("SITES: an administrator sees every site")
    if not sites or not all(sites):
        raise ConfigurationError("SITES: names of sites; whoever is to see every site has none of them")
    return tuple(sorted(set(sites)))


def _digest(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()


async def _write(log_: Log, user: ConsoleUser) -> ConsoleUser:
    async with log_.sending() as send:
        await send(OutRecord(log_.topics["console_users"], user.key, user.encode()))
    return user


def _changed(user: ConsoleUser, by: str, **fields: str | bool) -> ConsoleUser:
    return replace(user, epoch=user.epoch + 1, changed_at=now(), changed_by=by, **fields)


def _hash(password: str) -> str:
    return PasswordHasher().hash(password)


def is_name(name: str) -> bool:
    """Whether somebody may have a name."""
    return name.isprintable() and name == name.strip() and 0 < len(name) <= MOST_LETTERS


def _check_name(name: str) -> None:
    if not is_name(name):
        raise ConfigurationError(f"NAME: 1 to {MOST_LETTERS} characters, without a blank before or after them")


def _check_password(password: str) -> None:
    if len(password) < SHORTEST:
        raise ConfigurationError(f"the password needs {SHORTEST} characters or more")
    if len(password.encode(errors="replace")) > LONGEST:
        raise ConfigurationError(f"the password is longer than {LONGEST} bytes")
