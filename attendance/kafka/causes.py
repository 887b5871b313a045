"""Why Kafka cannot be reached, in a plain sentence.

aiokafka says "Unable to bootstrap" for all causes alike. So once a client has failed, each server is tried by itself.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from attendance.kafka.kerberos import TicketUnavailable, principal
from attendance.kafka.tokens import TokenUnavailable
from attendance.settings import KafkaSettings

LONGEST: Final = 5.0  # seconds that one server is tried
_RULES = 'see "Access rules in Kafka" in docs/installing.md'

# How aiokafka's administrator says which group it was.
_ADMINISTRATOR = "Unable to get coordinator id for "

_OF_CONNECTIONS = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, TimeoutError)
_OF_RIGHTS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)

# By OpenSSL's number for what is wrong with a certificate (X509_V_ERR_*).
_UNKNOWN_CA = "the broker's certificate is not signed by a CA that is trusted here ({trusted})"
_HOST_NAME = "the broker's certificate is not for this host name"
_OF_VERIFICATION: Final[Mapping[int, str]] = {
    **dict.fromkeys((2, 18, 19, 20, 21), _UNKNOWN_CA),
    9: "the broker's certificate is not valid yet, or the clock of this machine is wrong",
    10: "the broker's certificate has expired, or the clock of this machine is wrong",
    62: _HOST_NAME,
    64: _HOST_NAME,
}


@dataclass(frozen=True)
class _Target:
    """A server, and what it is connected to with."""

    host: str
    port: int
    options: Mapping[str, Any]

    @property
    def uses_tls(self) -> bool:
        return "SSL" in self.options["security_protocol"]

    @property
    def logs_in(self) -> bool:
        return str(self.options["security_protocol"]).startswith("SASL")

    def by(self, protocol: str) -> "_Target":
        return replace(self, options={**self.options, "security_protocol": protocol})

    async def connect(self) -> AIOKafkaConnection:
        return await create_conn(self.host, self.port, **self.options)


async def why_unreachable(settings: KafkaSettings, options: Mapping[str, Any]) -> str | None:
    """Try every bootstrap server, and every broker that they name, once.

    Args:
        settings: How Kafka is reached.
        options: What a client is built with, from the settings.

    Returns:
        For each server that failed what it failed with; None if none did.
    """
    known = {
        "client_id": options["client_id"],
        "request_timeout_ms": min(options["request_timeout_ms"], round(LONGEST * 1000)),
        **{name: options[name] for name in options if name.startswith(("sasl_", "ssl_", "security_"))},
    }
    first = {(host, port) for host, port, _ in collect_hosts(settings.bootstrap_servers)}
    found = await asyncio.gather(*(_try(settings, _Target(host, port, known)) for host, port in sorted(first)))
    named = {broker for _, brokers in found for broker in brokers} - first
    beyond = await asyncio.gather(*(_try(settings, _Target(host, port, known)) for host, port in sorted(named)))
    problems = [problem for problem, _ in found if problem is not None]
    problems += [f"{problem} (the cluster names this server)" for problem, _ in beyond if problem is not None]
    return "; ".join(problems) or None


def may_be_the_connection(error: BaseException) -> bool:
    """Whether an error of the library may mean that a server cannot be reached, or lets nobody in."""
    return isinstance(error, _OF_CONNECTIONS)


def what_is_not_allowed(
    settings: KafkaSettings, error: BaseException, operation: str | None, topics: Iterable[str]
) -> str | None:
    """The right that is missing, None if the error is about something else.

    Args:
        settings: How Kafka is reached, and as whom.
        error: What the library said.
        operation: What was tried, by Kafka's name for it.
        topics: Which topics that was about, if the error does not say.
    """
    if not isinstance(error, _OF_RIGHTS):
        return None
    who = _who(settings)
    names = sorted(_names(error.args)) or sorted(topics)
    if isinstance(error, GroupAuthorizationFailedError):
        # An administrator asks for what a group has committed, which takes less than to be a member.
        asks = any(name.startswith(_ADMINISTRATOR) for name in names)
        group = ", ".join(name.removeprefix(_ADMINISTRATOR) for name in names) or "of this stage"
        return f"{who} is not authorized: it needs {'Describe' if asks else 'Read'} on the group {group}; {_RULES}"
    topic = f"on the topic {', '.join(names)}" if names else "on a topic"
    right = f"{who} is not authorized: it needs {operation or 'a right'} {topic}"
    if isinstance(error, ClusterAuthorizationFailedError):
        right += ", and IdempotentWrite on the cluster if the broker is older than Kafka 2.8"
    return f"{right}; {_RULES}"


def _names(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, set | frozenset | list | tuple):
            yield from _names(value)


def _who(settings: KafkaSettings) -> str:
    if not settings.security_protocol.startswith("SASL"):
        return "the client certificate" if settings.ssl_certfile else "a client without a login"
    if settings.sasl_mechanism == "OAUTHBEARER":
        return f"the OAuth client {settings.sasl_oauthbearer_client_id!r}"
    if settings.sasl_mechanism == "GSSAPI":
        return f"the Kerberos principal {principal() or 'of this process'}"
    return f"the user {settings.sasl_username!r}" if settings.sasl_username else "the user in KAFKA_SASL_USERNAME_FILE"


async def _try(settings: KafkaSettings, target: _Target) -> tuple[str | None, set[tuple[str, int]]]:
    """What a server fails with, and the brokers that it names."""
    try:
        async with asyncio.timeout(LONGEST):
            connection = await target.connect()
            try:
                answer = await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        if not answer.brokers and settings.sasl_mechanism == "OAUTHBEARER":
            # It was told so in the login, where aiokafka does not look.
            return f"{target.host}:{target.port}: the broker refuses the token of {_who(settings)}", set()
        return None, {(broker[1], broker[2]) for broker in answer.brokers}
    except (KafkaError, OSError, EOFError, ValueError) as error:
        sentence = await _sentence(settings, target, error)
        return f"{target.host}:{target.port}: {sentence}", set()


async def _sentence(settings: KafkaSettings, target: _Target, error: BaseException) -> str:
    chain = list(_chain(error))
    for each in chain:
        known = _of_login(settings, target, each) or _of_certificates(settings, each) or _of_the_network(target, each)
        if known is not None:
            return known
        if isinstance(each, UnsupportedSaslMechanismError):
            offered = await _mechanisms(target)
            also = f"; it offers {', '.join(sorted(offered))}" if offered else ""
            return f"the broker does not offer KAFKA_SASL_MECHANISM={settings.sasl_mechanism}{also}"
    return await _of_protocols(settings, target) or _last(target, chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_login(settings: KafkaSettings, target: _Target, error: BaseException) -> str | None:
    if isinstance(error, TokenUnavailable):
        return str(error.args[0])
    if isinstance(error, TicketUnavailable):
        service = f"{settings.sasl_kerberos_service_name}/{settings.sasl_kerberos_domain_name or target.host}"
        return f"there is no Kerberos ticket for {service}: {error.args[0]}"
    if isinstance(error, IllegalSaslStateError):
        return "this port takes no login: KAFKA_SECURITY_PROTOCOL must be one without SASL"
    if isinstance(error, SaslAuthenticationFailed):
        said = f" (the broker says: {error.args[0]})" if error.args and error.args[0] else ""
        shown = {"OAUTHBEARER": "token", "GSSAPI": "ticket"}.get(settings.sasl_mechanism)
        if shown is not None:
            return f"the broker refuses the {shown} of {_who(settings)}{said}"
        return f"{_who(settings)} is unknown, or the password is wrong{said}"
    return None


def _of_certificates(settings: KafkaSettings, error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        trusted = settings.ssl_cafile or "the system's own, since KAFKA_SSL_CAFILE is not set"
        known = _OF_VERIFICATION.get(error.verify_code)
        if known is None:
            return f"the broker's certificate cannot be trusted: {error.verify_message}"
        return known.format(trusted=trusted)
    if isinstance(error, ssl.SSLError) and error.reason and "ALERT" in error.reason:
        alert = error.reason.partition("ALERT_")[2].replace("_", " ").lower()
        if settings.ssl_certfile is None:
            return f"the broker asks for a client certificate ({alert}): set KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE"
        return (
            f"the broker refuses the client certificate {settings.ssl_certfile} ({alert}): it may have expired, or be "
            "signed by a CA that the broker does not trust"
        )
    return None


def _of_the_network(target: _Target, error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    text = str(error)
    if isinstance(error, ConnectionRefusedError) or (isinstance(error, OSError) and "Errno 111" in text):
        return "nobody listens on this port"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN):
        return f"there is no way to this host ({error.strerror})"
    if isinstance(error, TimeoutError | RequestTimedOutError):
        return f"no answer within {target.options['request_timeout_ms'] / 1000:g} s"
    return None


def _last(target: _Target, chain: list[BaseException]) -> str:
    if any(isinstance(each, KafkaConnectionError | EOFError | ConnectionError | ssl.SSLEOFError) for each in chain):
        during = "during the login" if target.logs_in else "without an answer"
        also = "; it may want another client certificate" if target.uses_tls else ""
        return f"the broker closes the connection {during}{also}"
    return str(chain[0]) or type(chain[0]).__name__


async def _of_protocols(settings: KafkaSettings, target: _Target) -> str | None:
    """What the server speaks, if that is not what we do."""
    if target.uses_tls and await _speaks_plain_kafka(target):
        return f"this port does not speak TLS, and KAFKA_SECURITY_PROTOCOL is {settings.security_protocol}"
    if not target.uses_tls and await _speaks_tls(target):
        return f"this port speaks TLS, and KAFKA_SECURITY_PROTOCOL is {settings.security_protocol}"
    if not target.logs_in and await _mechanisms(target):
        return f"this port asks for a login, and KAFKA_SECURITY_PROTOCOL is {settings.security_protocol}"
    return None


async def _speaks_plain_kafka(target: _Target) -> bool:
    try:
        async with asyncio.timeout(LONGEST):
            connection = await target.by("PLAINTEXT").connect()
    except (KafkaError, OSError, EOFError):
        return False
    connection.close()
    return True


async def _speaks_tls(target: _Target) -> bool:
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE  # only to learn whether it is TLS; nothing is sent
    try:
        async with asyncio.timeout(LONGEST):
            _, writer = await asyncio.open_connection(target.host, target.port, ssl=anyone)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    writer.close()
    return True


async def _mechanisms(target: _Target) -> list[str]:
    """The SASL mechanisms that a server offers; none where it takes no login, or says nothing."""
    try:
        async with asyncio.timeout(LONGEST):
            connection = await target.by("SSL" if target.uses_tls else "PLAINTEXT").connect()
            try:
                answer = await connection.send(SaslHandShakeRequest("?"))
            finally:
                connection.close()
    except (KafkaError, OSError, EOFError):
        return []
    return list(answer.enabled_mechanisms)
