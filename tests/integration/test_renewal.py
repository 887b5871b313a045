"""On a secured broker, stages as processes: what is renewed on disk while they run is used without a restart."""

from pathlib import Path

import pytest
from secured_kafka import PASSWORD, SecuredKafka, run
from secured_site import Site, know_employee

from attendance.kafka.admin import create_topics

pytestmark = pytest.mark.timeout(600)  # many processes, on a machine that may do other things


def test_stages_go_on_with_a_renewed_certificate_and_a_rotated_password(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    site, password = Site(secured_kafka, tmp_path), tmp_path / "password"
    run(create_topics(site.all))
    know_employee(site.all)
    password.write_text(PASSWORD)
    stream = site.principal("stream").model_copy(update={"sasl_password": None, "sasl_password_file": password})
    try:
        site.start("stream", stream)
        site.login = "certificate"
        site.start("push")
        site.until(lambda: site.post("1", 1) == 200, "push")
        site.until(lambda: len(site.checkins()) == 1, "stream")

        # The certificate's time is over, somebody has changed the password, and no connection outlives the broker.
        secured_kafka.authority.issue(f"{site.prefix}-push", days=-1)
        secured_kafka.set_password(stream.sasl_username or "", "another")
        secured_kafka.stop()
        secured_kafka.start()
        site.until(lambda: site.post("1", 9) == 503, "push")
        site.until(lambda: "refuses the client certificate" in site.log("push").read_text(), "push")
        site.until(lambda: "or the password is wrong" in site.log("stream").read_text(), "stream")

        secured_kafka.authority.issue(f"{site.prefix}-push")
        password.write_text("another")
        site.until(lambda: site.post("1", 9) == 200, "push")
        # The first one may be there twice: nobody knows whether it was committed when the broker ended.
        site.until(lambda: len(site.checkins()) == 2, "stream")
        assert site.running() == 2
    finally:
        site.stop()
