"""OAUTHBEARER on a real broker, which closes each connection after some seconds."""

import json
import os
from pathlib import Path
from uuid import uuid4

import pytest
from secured_kafka import Right, SecuredKafka, run
from signed_tokens import Signer
from token_endpoint import SECRET, TokenEndpoint

from attendance.errors import KafkaUnavailable
from attendance.kafka.admin import create_topics, describe_topics
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from stream_process import Stream, punch

PREFIX = f"test-{uuid4().hex[:8]}"
CLIENT = f"{PREFIX}-client"
TOKEN_SECONDS = 8.0


def bearer(broker: SecuredKafka, endpoint: TokenEndpoint, **settings: object) -> KafkaSettings:
    return KafkaSettings.load(
        **{
            "bootstrap_servers": broker.sasl_servers,
            "security_protocol": "SASL_SSL",
            "ssl_cafile": broker.authority.certificate,
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauthbearer_token_endpoint_url": endpoint.url,
            "sasl_oauthbearer_client_id": CLIENT,
            "sasl_oauthbearer_client_secret": SECRET,
            "topic_prefix": PREFIX,
            "_env_file": None,
            **settings,
        }
    )


def test_a_token_that_cannot_be_had_or_is_not_taken_says_why(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    signer, another = secured_kafka.signer, Signer(tmp_path)
    with (
        TokenEndpoint(signer, TOKEN_SECONDS) as endpoint,
        TokenEndpoint(signer, -3600) as expired,
        TokenEndpoint(another, TOKEN_SECONDS) as forging,
        TokenEndpoint(signer, TOKEN_SECONDS, aud="another") as of_others,
    ):
        refused = f"the broker refuses the token of the OAuth client '{CLIENT}'"
        for kafka, said in (
            (
                bearer(secured_kafka, endpoint, sasl_oauthbearer_client_secret="wrong"),
                f"{endpoint.url} gives the client '{CLIENT}' no token: HTTP 401, invalid_client: wrong secret",
            ),
            (bearer(secured_kafka, expired), refused),
            (bearer(secured_kafka, forging), refused),
            (bearer(secured_kafka, of_others), refused),
        ):
            with pytest.raises(KafkaUnavailable) as refusal:
                run(describe_topics(kafka))
            assert said in str(refusal.value)


def test_the_stream_lives_on_over_the_end_of_its_tokens_and_connections_without_an_alarm(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    everything = KafkaSettings.load(
        bootstrap_servers=secured_kafka.bootstrap_servers,
        topic_prefix=PREFIX,
        partitions=2,
        session_timeout=6.0,
        _env_file=None,
    )
    run(create_topics(everything))
    rights = [
        Right("topic", PREFIX, "read", prefixed=True),
        Right("topic", PREFIX, "write", prefixed=True),
        Right("topic", PREFIX, "describe_configs", prefixed=True),
        Right("group", PREFIX, "read", prefixed=True),
    ]
    secured_kafka.allow(CLIENT, rights)
    with TokenEndpoint(secured_kafka.signer, TOKEN_SECONDS) as endpoint:
        kafka = bearer(secured_kafka, endpoint)
        stream = Stream(
            everything,
            tmp_path,
            KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
            KAFKA_SECURITY_PROTOCOL="SASL_SSL",
            KAFKA_SSL_CAFILE=os.fspath(secured_kafka.authority.certificate),
            KAFKA_SASL_MECHANISM="OAUTHBEARER",
            KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=endpoint.url,
            KAFKA_SASL_OAUTHBEARER_CLIENT_ID=CLIENT,
            KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET=SECRET,
        )
        stream.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
        try:
            stream.start()
            for round_ in range(3):
                stream.punches(*(punch(n) for n in range(10 * round_, 10 * round_ + 10)))
                stream.until(lambda: len(stream.checkins()) == 10 * round_ + 10)  # noqa: B023 - called at once
                given = endpoint.given
                stream.until(lambda: endpoint.given > given)  # noqa: B023 - called at once
        finally:
            stream.kill_all()
    assert endpoint.given >= 4
    lines = [json.loads(line) for line in stream.log.read_text().splitlines()]
    alarms = [line["event"] for line in lines if line["level"] in ("error", "critical")]
    # A new broker makes the topic of the groups' offsets when it is first asked for it.
    assert [alarm for alarm in alarms if "GroupCoordinatorNotAvailableError" not in alarm] == []
