"""GSSAPI on a real broker, with tickets of a realm of the test's own."""

from pathlib import Path

import pytest
from key_distribution import KeyDistribution
from secured_kafka import SecuredKafka, run
from secured_site import Site, know_employee

from attendance.errors import KafkaUnavailable
from attendance.kafka.admin import create_topics, describe_topics
from attendance.settings import KafkaSettings

pytestmark = pytest.mark.timeout(600)  # many processes, on a machine that may do other things


@pytest.fixture
def site(kerberos: KeyDistribution, secured_kafka: SecuredKafka, tmp_path: Path) -> Site:
    site = Site(secured_kafka, tmp_path)
    run(create_topics(site.all))
    return site


def by_ticket(site: Site, **settings: object) -> KafkaSettings:
    return site.broker.ticketed("nobody", topic_prefix=site.prefix, partitions=2, **settings)


def test_a_login_by_kerberos_that_fails_says_why(
    site: Site, kerberos: KeyDistribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = kerberos.variables(kerberos.keytab(f"{site.prefix}-known"))

    def refusal(**settings: object) -> str:
        with pytest.raises(KafkaUnavailable) as refused:
            run(describe_topics(by_ticket(site, **settings)))
        return str(refused.value)

    for name, value in (variables | {"KRB5_CLIENT_KTNAME": str(tmp_path / "none")}).items():
        monkeypatch.setenv(name, value)
    assert "there is no Kerberos ticket for kafka/127.0.0.1: No Kerberos credentials available" in refusal()
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", variables["KRB5_CLIENT_KTNAME"])
    assert "no Kerberos ticket for another/127.0.0.1: Server another/127.0.0.1@" in refusal(
        sasl_kerberos_service_name="another"
    )
    assert f"the Kerberos principal {site.prefix}-known@PUNCHSTREAM.TEST is not authorized: it needs" in refusal()


def test_stages_live_on_over_the_end_of_their_tickets(site: Site, kerberos: KeyDistribution) -> None:
    know_employee(site.all)
    site.login = "ticket"
    try:
        for stage in ("push", "stream"):
            site.start(stage)
        for minute in (1, 9):
            site.until(lambda: site.post("1", minute) == 200, "push")  # noqa: B023 - called at once
            site.until(lambda: len(site.checkins()) == 1 + (minute == 9), "stream")  # noqa: B023 - likewise
            before = {stage: kerberos.logins(f"{site.prefix}-{stage}") for stage in ("push", "stream")}
            for stage, logins in before.items():
                assert logins
                site.until(lambda: kerberos.logins(f"{site.prefix}-{stage}") > logins, stage)  # noqa: B023 - likewise
    finally:
        site.stop()
