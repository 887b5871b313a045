"""What a client shows a broker: read again from its files whenever it connects, so that what is renewed is taken up."""

import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from attendance.errors import ConfigurationError
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)


class Secret:
    """A secret from the environment, or from a file that is read each time it is asked for."""

    def __init__(self, setting: str, value: str | SecretStr | None, file: Path | None) -> None:
        """Read the file once.

        Args:
            setting: What the setting with the value is called. `_FILE` after it names the file.
            value: What it is, if no file has it.
            file: Where it is. What ends the last line is no part of it.

        Raises:
            ConfigurationError: both are given, or the file cannot be read or is empty.
        """
        self.setting = setting
        self._file = file
        if value is not None and file is not None:
            raise ConfigurationError(f"{setting} and {setting}_FILE: only one of them may be set")
        self._last = value.get_secret_value() if isinstance(value, SecretStr) else value
        if file is not None:
            try:
                self._last = _first(file)
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{setting}_FILE: {error}") from error

    def current(self) -> str | None:
        """What it is now. While its file cannot be read or is empty, as it was."""
        if self._file is not None:
            try:
                self._last = _first(self._file)
            except (OSError, ValueError) as error:
                log.warning("A secret cannot be read; the former one is used.", setting=self.setting, error=str(error))
        return self._last


def _first(file: Path) -> str:
    secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    if not secret:
        raise ValueError(f"{file} is empty")
    return secret


class Login:
    """User and password."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Read both.

        Args:
            settings: Has them, or names their files.

        Raises:
            ConfigurationError: one is missing, or its file cannot be read.
        """
        self._username = Secret("KAFKA_SASL_USERNAME", settings.sasl_username, settings.sasl_username_file)
        self._password = Secret("KAFKA_SASL_PASSWORD", settings.sasl_password, settings.sasl_password_file)
        if self._username.current() is None or self._password.current() is None:
            raise ConfigurationError(
                "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed with a SASL protocol, or the same with _FILE"
            )

    @property
    def username(self) -> str:
        """The user, as of now."""
        return self._username.current() or ""

    @property
    def password(self) -> str:
        """The password, as of now."""
        return self._password.current() or ""


class _TokenClient(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's client, which takes a broker that refuses its token for one that knows of no brokers."""

    async def bootstrap(self) -> None:
        await super().bootstrap()
        if not self.cluster.brokers():
            raise KafkaConnectionError("the broker refuses the token")


class _LoginClient(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's client, which keeps user and password for life, and here asks for them whenever it connects."""

    login: Login

    @property
    def _sasl_plain_username(self) -> str:
        return self.login.username

    @property
    def _sasl_plain_password(self) -> str:
        return self.login.password


def log_in_anew(client: AIOKafkaClient, login: Login | None) -> None:
    """Have a client of a SASL protocol read user and password whenever it connects, and notice a refused token.

    Args:
        client: Of a producer, a consumer or an administrator. aiokafka makes it itself, and leaves no other way in.
        login: What to read, None with tokens and tickets.
    """
    if login is not None:
        client.__class__ = _LoginClient
        client.login = login
    elif client._sasl_mechanism == "OAUTHBEARER":  # noqa: SLF001 - nothing else says so
        client.__class__ = _TokenClient


class RenewedContext(ssl.SSLContext):
    """A TLS context that is built anew from its files, if they have changed, whenever a connection begins.

    Connections that exist are left alone. While the files cannot be used, such as a new certificate beside the old
    key, the former ones are, and the next connection tries again.
    """

    def __new__(cls, *_: object) -> Self:
        """A context of a client, which by itself trusts nobody."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, build: Callable[[], ssl.SSLContext], files: Iterable[Path]) -> None:
        """Build it for the first time.

        Args:
            build: Makes the context that does the work.
            files: What it is made from.

        Raises:
            ConfigurationError: `build` says why it cannot be made.
        """
        super().__init__()
        self._build, self._files = build, tuple(files)
        self._lock = threading.Lock()
        self._made_from = self._stamps()
        self._context = build()

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """What asyncio begins a handshake with."""
        return self._current().wrap_bio(*args, **options)

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            stamps = self._stamps()
            if stamps != self._made_from:
                try:
                    self._context = self._build()
                except ConfigurationError as error:
                    log.warning("A renewed certificate cannot be used; the former one is used.", error=str(error))
                else:
                    self._made_from = stamps
                    log.info("A renewed certificate is used.", files=[str(file) for file in self._files])
            return self._context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


_CONTEXTS: Final[dict[tuple[Path | str | None, ...], RenewedContext]] = {}
"""One for all clients of a process: a client that is made in the middle of a renewal has the former pair too."""


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS context that the settings ask for, None for a plain connection.

    Raises:
        ConfigurationError: a certificate or a key cannot be read.
    """
    if "SSL" not in settings.security_protocol:
        return None
    password = Secret("KAFKA_SSL_KEY_PASSWORD", settings.ssl_key_password, settings.ssl_key_password_file)
    files = (settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_key_password_file)
    given = settings.ssl_key_password
    of = (*files, None if given is None else given.get_secret_value())
    if of not in _CONTEXTS:
        _CONTEXTS[of] = RenewedContext(
            lambda: _context(settings, password), [file for file in files if file is not None]
        )
    return _CONTEXTS[of]


def _context(settings: KafkaSettings, password: Secret) -> ssl.SSLContext:
    _readable("KAFKA_SSL_CAFILE", settings.ssl_cafile)
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"KAFKA_SSL_CAFILE: {settings.ssl_cafile} has no certificate ({_said(error)})"
        ) from error
    if settings.ssl_certfile is None:
        return context
    _readable("KAFKA_SSL_CERTFILE", settings.ssl_certfile)
    _readable("KAFKA_SSL_KEYFILE", settings.ssl_keyfile)
    key = settings.ssl_keyfile or settings.ssl_certfile
    is_encrypted = False

    def unlock() -> str:
        # OpenSSL would ask at the terminal.
        nonlocal is_encrypted
        is_encrypted = True
        return password.current() or ""

    try:
        context.load_cert_chain(settings.ssl_certfile, key, unlock)
    except ssl.SSLError as error:
        if is_encrypted:
            problem = "is missing" if password.current() is None else "is wrong"
            raise ConfigurationError(f"{password.setting} {problem}: {key} is encrypted") from error
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(
                f"KAFKA_SSL_KEYFILE: {key} is not the key of the certificate in {settings.ssl_certfile}"
            ) from error
        raise ConfigurationError(
            f"KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: {settings.ssl_certfile} or {key} cannot be used ({_said(error)})"
        ) from error
    return context


def _said(error: ssl.SSLError) -> str:
    return error.reason or str(error)


def _readable(setting: str, file: Path | None) -> None:
    """Raise ConfigurationError if a file cannot be read; OpenSSL does not say which."""
    try:
        if file is not None:
            file.open("rb").close()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {error}") from error
