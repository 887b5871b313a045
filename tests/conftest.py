"""Fixtures that tests of every level share."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import psutil
import pytest
import structlog
from chromium import chromium
from chromium import unavailable_reason as no_chromium
from hypothesis import HealthCheck, settings
from key_distribution import KeyDistribution
from key_distribution import unavailable_reason as no_kerberos
from not_run import not_run
from playwright.sync_api import Browser
from postgres import Postgres
from postgres import unavailable_reason as no_postgres
from secured_kafka import SecuredKafka

from sandbox.broker import Broker, BrokerKind, create_broker, unavailable_reason

# A machine that does other things at the same time is no fault of the code under test.
# CI looks at the same examples for the same commit, so that its verdict is one.
settings.register_profile(
    "shared",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    max_examples=30,
)
# For `make unit`: a test that names no number of examples looks at fewer.
settings.register_profile("unit", settings.get_profile("shared"), max_examples=25)
settings.load_profile("shared")

STAGES_END = 90.0
"""Seconds: longer than any stage takes to stop."""


def pytest_configure() -> None:
    """A run that is ended stops what its tests have started, as Ctrl-C has it: SIGTERM would leave stages behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where pytest-xdist has processes for the tests, those are ended in their turn."""
    if session.config.pluginmanager.has_plugin("dsession"):
        session.config.pluginmanager.register(Workers)


class Workers:
    """What a run does with the processes that have its tests, if it is ended."""

    @staticmethod
    def pytest_keyboard_interrupt() -> None:
        """Have each stop what its tests have started: pytest-xdist kills it some seconds later, whatever stays then."""
        workers = psutil.Process().children()
        started = [process for worker in workers for process in worker.children(recursive=True)]
        for worker in workers:
            worker.terminate()
        psutil.wait_procs(started, timeout=STAGES_END)


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command sends all logs to the standard error of its own time, which a later test would find closed.

    A logger that kept what the command configured could not be captured by a later test.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **settings: configure(**settings | {"cache_logger_on_first_use": False})
    )
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka_jars() -> None:
    """Apache Kafka can be run here. Where it has to be (PUNCHSTREAM_REQUIRE_KAFKA=1) its absence is a failure."""
    reason = unavailable_reason("kafka")
    if reason is not None:
        not_run(reason, "KAFKA")


@pytest.fixture(scope="session")
def kafka_broker(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka, shared by all tests: each makes its own topics and groups, and leaves the broker running."""
    with create_broker("kafka", tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def secured_kafka(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Apache Kafka that refuses what no rule allows, shared by all tests: each has its own topics, groups and users.

    It speaks GSSAPI where a Kerberos realm can be made.
    """
    with ExitStack() as stack:
        kerberos = None
        if no_kerberos() is None:
            kerberos = stack.enter_context(KeyDistribution(tmp_path_factory.mktemp("kerberos")))
        yield stack.enter_context(SecuredKafka(tmp_path_factory.mktemp("secured-kafka"), kerberos=kerberos))


@pytest.fixture
def kerberos(secured_kafka: SecuredKafka) -> KeyDistribution:
    """The realm. Where it has to be (PUNCHSTREAM_REQUIRE_KERBEROS=1) its absence is a failure."""
    if secured_kafka.kerberos is None:
        not_run(f"not run: {no_kerberos()}", "KERBEROS")
    return secured_kafka.kerberos


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for all tests. Where it has to be (PUNCHSTREAM_REQUIRE_POSTGRES=1) its absence is a failure."""
    if (missing := no_postgres()) is not None:
        not_run(f"not run: {missing}", "POSTGRES")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser. Where it has to be (PUNCHSTREAM_REQUIRE_CHROMIUM=1) its absence is a failure."""
    if (missing := no_chromium()) is not None:
        not_run(f"not run: {missing}", "CHROMIUM")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def systemd() -> None:
    """What looks at units. Where it has to be (PUNCHSTREAM_REQUIRE_SYSTEMD=1) its absence is a failure."""
    if shutil.which("systemd-analyze") is None:
        not_run("not run: units need `systemd-analyze`, of Debian's package systemd", "SYSTEMD")


@pytest.fixture(scope="session")
def prometheus() -> None:
    """What looks at rules. Where it has to be (PUNCHSTREAM_REQUIRE_PROMETHEUS=1) its absence is a failure."""
    if shutil.which("promtool") is None:
        not_run("not run: alerts need `promtool`, of Debian's package prometheus", "PROMETHEUS")


@pytest.fixture(scope="session")
def alertmanager() -> None:
    """What looks at routes. Where it has to be (PUNCHSTREAM_REQUIRE_ALERTMANAGER=1) its absence is a failure."""
    if shutil.which("amtool") is None:
        not_run("not run: routes need `amtool`, of Debian's package prometheus-alertmanager", "ALERTMANAGER")


@pytest.fixture(scope="session")
def compose_reader() -> Path:
    """What reads compose files. Where it has to be (PUNCHSTREAM_REQUIRE_COMPOSE=1) its absence is a failure."""
    reader = Path(__file__).parents[1] / "deploy" / "compose" / "target" / "cmd"
    if not reader.exists():
        not_run("not run: the compose file needs what reads it, of `make reader`", "COMPOSE")
    return reader


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, shared by all tests: each makes its own topics and groups, and leaves it running."""
    with create_broker("embedded", tmp_path_factory.mktemp("embedded")) as broker:
        yield broker


@pytest.fixture(scope="session", params=["embedded", "kafka"])
def broker_kind(request: pytest.FixtureRequest) -> BrokerKind:
    """Each kind of broker that can be run here."""
    if request.param == "kafka":
        request.getfixturevalue("kafka_jars")
    return cast("BrokerKind", request.param)


@pytest.fixture(scope="session")
def broker(broker_kind: BrokerKind, request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn, shared by all tests."""
    return cast("Broker", request.getfixturevalue(f"{broker_kind}_broker"))
