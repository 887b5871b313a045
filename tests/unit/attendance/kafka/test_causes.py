"""A connection that fails says why, for causes that need no broker. tests/integration has those that do."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from certificates import Authority, Certificate

from attendance.kafka import causes
from attendance.kafka.clients import unavailable
from attendance.settings import KafkaSettings
from sandbox.ports import free_ports

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def cause(kafka: KafkaSettings) -> str:
    return str(await unavailable(kafka, KafkaConnectionError("Unable to bootstrap")))


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def at_a_server(handler: Handler, certificate: Certificate | None = None, **settings: object) -> str:
    """What a client says that finds this server in the place of a broker."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)

    async def story() -> str:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # a refused handshake is none of the test's
        async with await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            kafka = KafkaSettings.load(bootstrap_servers=f"127.0.0.1:{port}", _env_file=None, **settings)
            said = await cause(kafka)
            return said.removeprefix(f"127.0.0.1:{port}: ")

    return asyncio.run(story())


def test_nobody_listens_and_no_such_name_are_said_for_each_server() -> None:
    (port,) = free_ports(1)
    kafka = KafkaSettings.load(bootstrap_servers=f"127.0.0.1:{port},kafka.invalid:9092", _env_file=None)
    assert asyncio.run(cause(kafka)) == (
        f"127.0.0.1:{port}: nobody listens on this port; kafka.invalid:9092: the name does not resolve"
    )


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [
        (["IP:127.0.0.1"], -1, "the broker's certificate has expired, or the clock of this machine is wrong"),
        (["DNS:kafka-1"], 30, "the broker's certificate is not for this host name"),
    ],
)
def test_a_brokers_certificate_that_is_not_valid_here_is_named_by_what_is_wrong(
    authority: Authority, names: list[str], days: int, said: str
) -> None:
    certificate = authority.issue("broker", *names, days=days)
    assert at_a_server(say_nothing, certificate, security_protocol="SSL", ssl_cafile=authority.certificate) == said


def test_a_certificate_that_is_not_valid_yet_is_told_from_others() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code = 9  # X509_V_ERR_CERT_NOT_YET_VALID
    said = causes._of_certificates(KafkaSettings.load(_env_file=None), error)
    assert said == "the broker's certificate is not valid yet, or the clock of this machine is wrong"


def test_a_ca_that_is_not_trusted_is_said_with_the_file_that_has_the_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, trusted = authority.issue("broker", "IP:127.0.0.1"), Authority(tmp_path).certificate
    said = at_a_server(say_nothing, certificate, security_protocol="SSL", ssl_cafile=trusted)
    assert said == f"the broker's certificate is not signed by a CA that is trusted here ({trusted})"


def test_tls_where_plain_text_is_sent_is_said(authority: Authority) -> None:
    certificate = authority.issue("broker", "IP:127.0.0.1")
    said = at_a_server(close, certificate)
    assert said == "this port speaks TLS, and KAFKA_SECURITY_PROTOCOL is PLAINTEXT"


def test_a_server_that_closes_is_said_to_close() -> None:
    assert at_a_server(close) == "the broker closes the connection without an answer"


def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    assert at_a_server(say_nothing, request_timeout=0.2) == "no answer within 0.2 s"
