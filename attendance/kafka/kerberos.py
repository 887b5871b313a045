"""Kerberos tickets for GSSAPI, which the system's own library gets: from its cache, or by the client's keytab."""

from typing import Any

import aiokafka.conn
from aiokafka.errors import KafkaError

from attendance.errors import ConfigurationError

MISSING = "KAFKA_SASL_MECHANISM: GSSAPI needs the package gssapi (pip install 'punchstream[kerberos]')"


class TicketUnavailable(KafkaError):  # type: ignore[misc]
    """There is no ticket to log in with. aiokafka knows its own errors, and goes on after them."""


class _Authenticator(aiokafka.conn.SaslGSSAPIAuthenticator):  # type: ignore[misc]
    """aiokafka's, which lets errors of the Kerberos library end the client that it works for."""

    def authenticator_gssapi(self) -> Any:  # noqa: ANN401 - a generator of aiokafka's own
        from gssapi.exceptions import GSSError

        try:
            return (yield from super().authenticator_gssapi())
        except GSSError as error:
            raise TicketUnavailable(_said(error)) from error


def speak_gssapi() -> None:
    """Have aiokafka's connections get tickets so that a client outlives a ticket that cannot be had.

    Raises:
        ConfigurationError: the library is not installed.
    """
    try:
        import gssapi  # noqa: F401 - aiokafka uses it, and only asserts that it is there
    except (ImportError, OSError) as error:
        raise ConfigurationError(MISSING) from error
    # aiokafka leaves no other way in.
    aiokafka.conn.SaslGSSAPIAuthenticator = _Authenticator


def principal() -> str | None:
    """Who the ticket is for, None if there is none."""
    import gssapi
    from gssapi.exceptions import GSSError

    try:
        return str(gssapi.Credentials(usage="initiate").name)
    except GSSError:
        return None


def _said(error: BaseException) -> str:
    """The words of the Kerberos library. Those of GSSAPI before them are the same for nearly everything."""
    return str(error).rpartition("): ")[2] or type(error).__name__
