"""What is renewed on disk is used for the next connection, and what cannot be used says so."""

import asyncio
import shutil
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificates import Authority, Certificate

from attendance.errors import ConfigurationError
from attendance.kafka.clients import connection_options, create_admin, create_consumer, create_producer
from attendance.kafka.credentials import ssl_context
from attendance.settings import KafkaSettings, StreamSettings
from streams.app import faust_settings


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_certificate(authority: Authority) -> Certificate:
    return authority.issue("server", "DNS:localhost")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[Any]], Any]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run  # type: ignore[misc]


def settings(**values: Any) -> KafkaSettings:
    return KafkaSettings.load(security_protocol="SSL", _env_file=None, **values)


def put(source: Path, destination: Path) -> None:
    """Replace a file as renewals do: whole, and newer than before."""
    beside = destination.with_suffix(".new")
    shutil.copy(source, beside)
    beside.replace(destination)


async def name_shown(context: ssl.SSLContext, server: Certificate, trusted: Path) -> str:
    """The common name of the certificate that a client shows a server."""
    names: asyncio.Queue[str] = asyncio.Queue()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(pair for part in writer.get_extra_info("peercert")["subject"] for pair in part)
        writer.close()
        names.put_nowait(subject["commonName"])

    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusted)
    ours.verify_mode = ssl.CERT_REQUIRED
    ours.load_cert_chain(server.certificate, server.key)
    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=ours) as listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        await reader.read()
        writer.close()
        return await names.get()


def test_a_renewed_pair_is_shown_from_the_next_connection_on_and_half_of_one_is_not(
    tmp_path: Path, authority: Authority, server_certificate: Certificate, run: Callable[[Awaitable[Any]], Any]
) -> None:
    old, new = authority.issue("old"), authority.issue("new")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    put(old.certificate, certificate)
    put(old.key, key)
    context = ssl_context(settings(ssl_cafile=authority.certificate, ssl_certfile=certificate, ssl_keyfile=key))
    assert context is not None

    def shown() -> str:
        name: str = run(name_shown(context, server_certificate, authority.certificate))
        return name

    assert shown() == "old"
    put(new.certificate, certificate)
    assert shown() == "old"
    key.unlink()
    assert shown() == "old"
    put(new.key, key)
    assert shown() == "new"


def test_a_client_that_is_made_in_the_middle_of_a_renewal_has_the_former_pair_too(
    tmp_path: Path, authority: Authority, server_certificate: Certificate, run: Callable[[Awaitable[Any]], Any]
) -> None:
    old, certificate, key = authority.issue("old"), tmp_path / "client.pem", tmp_path / "client.key"
    put(old.certificate, certificate)
    put(old.key, key)
    given = {"ssl_cafile": authority.certificate, "ssl_certfile": certificate, "ssl_keyfile": key}
    assert ssl_context(settings(**given)) is not None
    key.write_text("half of a key")
    context = ssl_context(settings(**given))
    assert context is not None
    assert run(name_shown(context, server_certificate, authority.certificate)) == "old"


def test_a_certificate_that_is_not_trusted_any_more_is_refused_by_the_next_connection(
    tmp_path: Path, authority: Authority, server_certificate: Certificate, run: Callable[[Awaitable[Any]], Any]
) -> None:
    client, trusted = authority.issue("client"), tmp_path / "trusted.pem"
    put(authority.certificate, trusted)
    context = ssl_context(settings(ssl_cafile=trusted, ssl_certfile=client.certificate, ssl_keyfile=client.key))
    assert context is not None
    assert run(name_shown(context, server_certificate, authority.certificate)) == "client"
    put(Authority(tmp_path, "another").certificate, trusted)
    with pytest.raises(ssl.SSLCertVerificationError):
        run(name_shown(context, server_certificate, authority.certificate))


def test_an_encrypted_key_needs_its_password_from_the_environment_or_a_file(
    tmp_path: Path, authority: Authority
) -> None:
    client, file = authority.issue("encrypted", password="open sesame"), tmp_path / "password"
    file.write_text("open sesame\n")
    pair = {"ssl_cafile": authority.certificate, "ssl_certfile": client.certificate, "ssl_keyfile": client.key}
    for known in ({"ssl_key_password": "open sesame"}, {"ssl_key_password_file": file}):
        assert ssl_context(settings(**pair, **known)) is not None
    with pytest.raises(ConfigurationError, match=r"KAFKA_SSL_KEY_PASSWORD is missing: .*encrypted\.key is encrypted"):
        ssl_context(settings(**pair))
    with pytest.raises(ConfigurationError, match=r"KAFKA_SSL_KEY_PASSWORD is wrong: .*encrypted\.key is encrypted"):
        ssl_context(settings(**pair, ssl_key_password="sesame"))


def test_a_file_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path, authority: Authority) -> None:
    client, another, words = authority.issue("one"), authority.issue("two"), tmp_path / "words"
    words.write_text("no certificate")
    good = {"ssl_cafile": authority.certificate, "ssl_certfile": client.certificate, "ssl_keyfile": client.key}
    for setting, file, said in (
        ("ssl_cafile", tmp_path / "none", "No such file"),
        ("ssl_certfile", tmp_path / "none", "No such file"),
        ("ssl_keyfile", tmp_path / "none", "No such file"),
        ("ssl_cafile", words, str(words)),
        ("ssl_keyfile", another.key, "is not the key of the certificate"),
        ("ssl_keyfile", words, str(words)),
    ):
        with pytest.raises(ConfigurationError, match=f"KAFKA_{setting.upper()}.*{said}"):
            ssl_context(settings(**good | {setting: file}))


def test_user_and_password_are_read_whenever_a_client_connects(tmp_path: Path) -> None:
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("push\n")
    password.write_text("first\n")
    kafka = KafkaSettings.load(
        security_protocol="SASL_PLAINTEXT", sasl_username_file=user, sasl_password_file=password, _env_file=None
    )

    async def known() -> list[list[tuple[str, str]]]:
        producer, consumer, admin = (
            create_producer(kafka, "c"),
            create_consumer(kafka, client_id="c"),
            create_admin(kafka, "c"),
        )
        found = []
        # An empty file is one that is being written.
        for content in ("first", "second", ""):
            password.write_text(content)
            clients = (producer.client, consumer._client, admin._client)
            found.append([(client._sasl_plain_username, client._sasl_plain_password) for client in clients])
        await producer.stop()
        await consumer.stop()
        await admin.close()
        return found

    assert asyncio.run(known()) == [[("push", "first")] * 3, [("push", "second")] * 3, [("push", "second")] * 3]


def test_the_streams_consumer_is_given_the_same_login(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("first\n")
    kafka = KafkaSettings.load(
        security_protocol="SASL_PLAINTEXT", sasl_username="stream", sasl_password_file=password, _env_file=None
    )
    credentials = faust_settings(kafka, StreamSettings(_env_file=None))["broker_credentials"]
    assert (credentials.username, credentials.password) == ("stream", "first")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed"),
        ({"sasl_username": "u"}, "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed"),
        ({"sasl_username": "u", "sasl_password_file": "/none"}, "KAFKA_SASL_PASSWORD_FILE: .*No such file"),
        ({"sasl_username": "u", "sasl_password": "p", "sasl_password_file": "/none"}, "only one of them may be set"),
    ],
)
def test_a_login_that_is_not_whole_names_the_setting(values: dict[str, str], said: str) -> None:
    kafka = KafkaSettings.load(security_protocol="SASL_PLAINTEXT", _env_file=None, **values)

    with pytest.raises(ConfigurationError, match=said):
        connection_options(kafka, "c")
