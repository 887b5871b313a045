"""Tickets that cannot be had, told to aiokafka as an error of its own. tests/integration has those that can."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import aiokafka.conn
import faust
import pytest
from aiokafka.errors import KafkaError

from attendance.errors import ConfigurationError
from attendance.kafka.clients import connection_options
from attendance.kafka.kerberos import principal
from attendance.settings import KafkaSettings, StreamSettings
from streams.app import faust_settings

NONE = "No Kerberos credentials available (default cache: FILE:/tmp/krb5cc_0)"


class GSSError(Exception):
    """What the library raises."""


def refuse(*_: object, **__: object) -> Any:
    raise GSSError(f"Major (458752): No credentials were supplied, Minor (2529639053): {NONE}")


def kafka(**settings: object) -> KafkaSettings:
    return KafkaSettings.load(security_protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI", _env_file=None, **settings)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The library of a machine without tickets."""
    gssapi, exceptions = ModuleType("gssapi"), ModuleType("gssapi.exceptions")
    names = {"Name": refuse, "Credentials": refuse, "NameType": SimpleNamespace(hostbased_service="service")}
    gssapi.__dict__.update(names)
    exceptions.__dict__["GSSError"] = GSSError
    monkeypatch.setitem(sys.modules, "gssapi", gssapi)
    monkeypatch.setitem(sys.modules, "gssapi.exceptions", exceptions)
    monkeypatch.setattr(aiokafka.conn, "gssapi", gssapi)
    monkeypatch.setattr(aiokafka.conn, "SaslGSSAPIAuthenticator", aiokafka.conn.SaslGSSAPIAuthenticator)
    return gssapi


def test_without_the_library_the_setting_is_named_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigurationError, match=r"^KAFKA_SASL_MECHANISM: .*punchstream\[kerberos\]"):
        connection_options(kafka(), "test")


def test_a_ticket_that_cannot_be_had_is_an_error_that_clients_survive(library: ModuleType) -> None:
    async def log_in() -> None:
        connection_options(kafka(), "test")
        connection = aiokafka.conn.AIOKafkaConnection("127.0.0.1", 1, sasl_mechanism="GSSAPI")
        await connection.authenticator_gssapi().step(None)

    with pytest.raises(KafkaError) as refusal:
        asyncio.run(log_in())
    assert refusal.value.args == (NONE,)


def test_who_has_no_ticket_has_no_name(library: ModuleType) -> None:
    assert principal() is None
    library.__dict__["Credentials"] = lambda **_: SimpleNamespace(name="push@EXAMPLE.COM")
    assert principal() == "push@EXAMPLE.COM"


def test_faust_is_given_the_same(library: ModuleType) -> None:
    credentials = faust_settings(kafka(), StreamSettings(_env_file=None))["broker_credentials"]
    assert isinstance(credentials, faust.GSSAPICredentials)
    assert (credentials.kerberos_service_name, credentials.kerberos_domain_name) == ("kafka", None)
