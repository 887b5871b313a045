"""Apache Kafka as an enterprise has it: nobody may do anything who was not given the right to.

It is one node with three listeners: one for SCRAM, PLAIN, OAUTHBEARER and GSSAPI over TLS, one for mutual TLS, and a
plain one for the test itself, whose client may do everything.
"""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import (
    CreateAclsRequest,
    CreateAclsRequest_v1,
    DeleteAclsRequest,
    DeleteAclsRequest_v1,
    DescribeAclsRequest,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from certificates import Authority, Certificate
from key_distribution import REALM, KeyDistribution
from signed_tokens import AUDIENCE, ISSUER, Signer

from attendance.kafka.clients import connection_options
from attendance.settings import KafkaSettings
from sandbox.broker.kafka import Kafka, KafkaNode
from sandbox.ports import free_ports

T = TypeVar("T")

PASSWORD = "right"
PLAIN_USER = "plain"

Resource = Literal["topic", "group", "cluster"]
Operation = Literal["read", "write", "create", "delete", "alter", "describe", "describe_configs", "alter_configs"]

_RESOURCES: Mapping[Resource, int] = {"topic": 2, "group": 3, "cluster": 4}
_OPERATIONS: Mapping[Operation, int] = {
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "describe_configs": 10,
    "alter_configs": 11,
}
_ANY, _LITERAL, _PREFIXED, _ALLOW = 1, 3, 4, 3
_SECONDS = 30
_SCRAM_SHA_512, _ITERATIONS = 2, 4096


@dataclass(frozen=True)
class Right:
    """What a principal may do. `prefixed` makes the name the beginning of all that it is for."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False


class SecuredKafka(Kafka):
    """One node with an authorizer that refuses what no rule allows."""

    name: ClassVar[str] = "secured kafka"
    start_seconds: ClassVar[float] = 180.0

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str] | None = None,
        kerberos: KeyDistribution | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            directory: An existing directory, for the broker and the certificates.
            properties: What its configuration has beside, or instead of, that of this class.
            kerberos: Gives tickets for GSSAPI, which is not spoken without it.
        """
        jwks = directory / "jwks.json"
        options = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}"]
        if kerberos is not None:
            options.append(f"-Djava.security.krb5.conf={kerberos.config}")
        super().__init__(directory, java_options=options)
        self.kerberos = kerberos
        self.signer = Signer(directory)
        self._jwks = jwks
        jwks.write_text(json.dumps(self.signer.key_set()))
        self.authority = Authority(directory)
        self._certificate = self.authority.issue("broker", "DNS:localhost", "IP:127.0.0.1")
        self._sasl_port, self._tls_port = free_ports(2)
        self._more = properties or {}

    @property
    def sasl_servers(self) -> str:
        """Where SCRAM, PLAIN, OAUTHBEARER and, with a realm, GSSAPI are spoken over TLS."""
        return f"127.0.0.1:{self._sasl_port}"

    @property
    def mechanisms(self) -> list[str]:
        """By which one may log in there."""
        return [*(["GSSAPI"] if self.kerberos else []), "OAUTHBEARER", "PLAIN", "SCRAM-SHA-512"]

    @property
    def tls_servers(self) -> str:
        """Where a client shows a certificate; its common name is the name of the principal."""
        return f"127.0.0.1:{self._tls_port}"

    def properties(self, node: KafkaNode) -> dict[str, str]:
        """The configuration: the listeners, the authorizer, and who is above it."""
        base = super().properties(node)
        sasl, tls = (
            f"{name}://127.0.0.1:{port}" for name, port in (("SASL", self._sasl_port), ("TLS", self._tls_port))
        )
        scram, plain, bearer = (
            f"org.apache.kafka.common.security.{module} required"
            for module in ("scram.ScramLoginModule", "plain.PlainLoginModule", "oauthbearer.OAuthBearerLoginModule")
        )
        return {
            **base,
            "listeners": f"{base['listeners']},{sasl},{tls}",
            "advertised.listeners": f"{base['advertised.listeners']},{sasl},{tls}",
            "listener.security.protocol.map": f"{base['listener.security.protocol.map']},SASL:SASL_SSL,TLS:SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._certificate.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.certificate),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.tls.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "listener.name.sasl.sasl.enabled.mechanisms": ",".join(self.mechanisms),
            **({} if self.kerberos is None else _by_kerberos(self.kerberos)),
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{scram};",
            "listener.name.sasl.plain.sasl.jaas.config": f'{plain} user_{PLAIN_USER}="{PASSWORD}";',
            # Tokens are looked at for who they are from and for, until when, and who signed them.
            "listener.name.sasl.oauthbearer.sasl.jaas.config": f"{bearer};",
            "listener.name.sasl.oauthbearer.sasl.server.callback.handler.class": (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
            ),
            "listener.name.sasl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": self._jwks.as_uri(),
            "listener.name.sasl.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
            "listener.name.sasl.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
            # Such a connection lives as long as its token, and no longer than this.
            "listener.name.sasl.oauthbearer.connections.max.reauth.ms": "10000",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            # Of the plain listener, and of the controller's.
            "super.users": "User:ANONYMOUS",
            **self._more,
        }

    def certificate(self, user: str) -> Certificate:
        """A certificate for mutual TLS."""
        return self.authority.issue(user)

    def set_password(self, user: str, password: str = PASSWORD) -> None:
        """Make a user of SCRAM-SHA-512, or give it another password. Returns when the broker knows."""
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
        upsertion = (user, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {})
        response = self._ask(_AlterScram([], [upsertion]))
        assert [code for _, code, *_ in response.results] == [0], response
        _until(lambda: self._lets_in(user, password))

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Give rights to a user. Returns when the broker knows."""
        creations = [(*_place(right), f"User:{user}", "*", _OPERATIONS[right.operation], _ALLOW) for right in rights]
        response = self._ask(_Built(CreateAclsRequest, CreateAclsRequest_v1, creations))
        assert {code for code, _ in response.creation_responses} <= {0}, response
        _until(lambda: set(creations) <= self._rules(user))

    def forbid(self, user: str, *rights: Right) -> None:
        """Take rights away again. Returns when the broker knows."""
        filters = [(*_place(right), f"User:{user}", "*", _OPERATIONS[right.operation], _ALLOW) for right in rights]
        response = self._ask(_Built(DeleteAclsRequest, DeleteAclsRequest_v1, filters))
        assert all(code == 0 and len(deleted) == 1 for code, _, deleted in response.filter_responses), response
        _until(lambda: not set(filters) & self._rules(user))

    def user(self, name: str, rights: Iterable[Right] = (), **settings: Any) -> KafkaSettings:
        """Settings of a user of SCRAM-SHA-512 with these rights."""
        self.set_password(name)
        self.allow(name, rights)
        return self._settings(name, **settings)

    def certified(self, name: str, rights: Iterable[Right] = (), **settings: Any) -> KafkaSettings:
        """Settings of one who shows a certificate of this name, with these rights."""
        shown = self.certificate(name)
        self.allow(name, rights)
        return KafkaSettings.load(
            **{
                "bootstrap_servers": self.tls_servers,
                "security_protocol": "SSL",
                "ssl_cafile": self.authority.certificate,
                "ssl_certfile": shown.certificate,
                "ssl_keyfile": shown.key,
                "session_timeout": self.session_timeout,
                **settings,
            }
        )

    def ticketed(self, name: str, rights: Iterable[Right] = (), **settings: Any) -> KafkaSettings:
        """Settings of a principal of the realm, with these rights. Its keytab is for the process to know."""
        self.allow(name, rights)
        return KafkaSettings.load(
            **{
                "bootstrap_servers": self.sasl_servers,
                "security_protocol": "SASL_SSL",
                "ssl_cafile": self.authority.certificate,
                "sasl_mechanism": "GSSAPI",
                "session_timeout": self.session_timeout,
                **settings,
            }
        )

    def _rules(self, user: str) -> set[tuple[Any, ...]]:
        """All that a user is allowed, as it was asked for."""
        response = self._ask(DescribeAclsRequest(_ANY, None, _ANY, f"User:{user}", None, _ANY, _ALLOW))
        return {(kind, name, pattern, *rule) for kind, name, pattern, rules in response.resources for rule in rules}

    def _lets_in(self, user: str, password: str) -> bool:
        async def start() -> None:
            admin = AIOKafkaAdminClient(**connection_options(self._settings(user, password), "test"))
            try:
                await admin.start()
            finally:
                await admin.close()

        try:
            run(start())
        except KafkaError:
            return False
        return True

    def _settings(self, user: str, password: str = PASSWORD, **settings: Any) -> KafkaSettings:
        return KafkaSettings.load(
            **{
                "bootstrap_servers": self.sasl_servers,
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": user,
                "sasl_password": password,
                "ssl_cafile": self.authority.certificate,
                "session_timeout": self.session_timeout,
                **settings,
            }
        )

    def _ask(self, request: Request[Any]) -> Any:
        async def ask() -> Any:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
            await admin.start()
            try:
                return await admin._send_request(request)
            finally:
                await admin.close()

        return run(ask())


_run = asyncio.run  # a test may have commands run their work by `run`


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `asyncio.run` does, and wait for the end of connections over TLS that the other side refused.

    aiokafka closes them and goes on, and the loop would end before they are closed.
    """

    async def until_closed() -> T:
        try:
            return await work
        finally:
            loop: Any = asyncio.get_running_loop()
            deadline = loop.time() + 5
            # One is the loop's own.
            while len(loop._selector.get_map()) > 1 and loop.time() < deadline:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)

    return _run(until_closed())


def environment(settings: KafkaSettings) -> dict[str, str]:
    """The environment variables that make these settings in another process."""
    values = settings.model_dump(exclude_defaults=True) | {"sasl_password": settings.sasl_password}
    shown = {
        name: value.get_secret_value() if name == "sasl_password" else value for name, value in values.items() if value
    }
    return {f"KAFKA_{name.upper()}": str(value) for name, value in shown.items()}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _by_kerberos(kerberos: KeyDistribution) -> dict[str, str]:
    """What a broker speaks GSSAPI with. Clients are known by the first part of their principals."""
    module = "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true isInitiator=false"
    name = "kafka/127.0.0.1"
    return {
        "listener.name.sasl.sasl.kerberos.service.name": "kafka",
        # Such a connection lives no longer than this.
        "listener.name.sasl.gssapi.connections.max.reauth.ms": "8000",
        "listener.name.sasl.gssapi.sasl.jaas.config": (
            f'{module} keyTab="{kerberos.keytab(name)}" principal="{name}@{REALM}";'
        ),
    }


def _place(right: Right) -> tuple[int, str, int]:
    return _RESOURCES[right.resource], right.name, _PREFIXED if right.prefixed else _LITERAL


class _Built(Request[Any]):
    """Several rules in one request; aiokafka's own take one."""

    API_KEY = 0

    def __init__(self, kind: type[Request[Any]], struct: type[RequestStruct], content: list[Any]) -> None:
        self.API_KEY = kind.API_KEY  # type: ignore[misc]
        self._struct, self._content = struct, content

    def prepare(self, _versions: Mapping[int, tuple[int, int]]) -> RequestStruct:
        return self._struct(self._content)

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        raise NotImplementedError


class _AlteredScram(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramStruct(RequestStruct):
    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _AlteredScram
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScram(Request[_AlterScramStruct]):
    API_KEY = 51

    def __init__(self, deletions: list[Any], upsertions: list[Any]) -> None:
        self._deletions, self._upsertions = deletions, upsertions

    def build(self, request_struct_class: type[_AlterScramStruct]) -> _AlterScramStruct:
        return request_struct_class(self._deletions, self._upsertions, {})
