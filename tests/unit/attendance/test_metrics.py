"""Metrics: one table of names, and counts of one's own."""

import re
import socket
import threading
from importlib.metadata import version
from typing import get_args

import pytest
import requests
from prometheus_client import Counter, Gauge, Histogram

from attendance.errors import ConfigurationError
from attendance.health import PORTS
from attendance.metric_table import TABLE, Name
from attendance.metrics import Metrics
from sandbox.ports import free_port
from streams.waiting_by_device import SERIES


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample, by its name and labels as they are exposed."""
    lines = [line for line in metrics.exposition().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_table_has_every_name_that_can_be_counted_and_no_other() -> None:
    assert set(TABLE) == set(get_args(Name))


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name, metric in TABLE.items():
        assert re.fullmatch(r"punchstream_[a-z_]+", name)
        assert name.endswith("_total") == (metric.kind is Counter)
        assert name.endswith("_seconds") or metric.kind is not Histogram
        assert metric.meaning.endswith(".")


def test_nothing_is_labelled_with_what_grows_with_the_fleet() -> None:
    bounded = {
        "punchstream_pull_behind_timestamp_seconds",  # by `producers.pull.share.NAMED`
        *SERIES,  # by `streams.waiting_by_device.SHOWN`
    }
    labels = {label for name, metric in TABLE.items() for label in metric.labels if name not in bounded}
    assert not labels & {"device_id", "device", "employee", "user", "device_user_id", "event_id"}


def test_every_metric_is_exposed_by_its_own_name_with_its_meaning(metrics: Metrics) -> None:
    text = metrics.exposition().decode()
    for name, metric in TABLE.items():
        assert f"# HELP {name} {metric.meaning}" in text


@pytest.mark.parametrize("stage", sorted({stage for metric in TABLE.values() for stage in metric.stages}))
def test_a_stage_shows_no_metric_of_another(stage: str) -> None:
    text = Metrics(stage).exposition().decode()
    shown = {name for name in TABLE if f"# TYPE {name} " in text}
    assert shown == {name for name, metric in TABLE.items() if stage in metric.stages}


@pytest.mark.parametrize("stage", PORTS)
def test_each_stage_shows_what_it_is_and_what_it_uses_of_the_machine(stage: str) -> None:
    shown = samples(Metrics(stage))
    [about] = [name for name in shown if name.startswith("punchstream_build_info{")]
    assert f'stage="{stage}"' in about
    assert f'version="{version("punchstream")}"' in about
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= shown.keys()


def test_a_metric_of_another_stage_is_shown_once_it_is_counted() -> None:
    metrics = Metrics("pull")
    for _ in range(2):
        metrics.gauge("punchstream_target_available", 1)
    assert samples(metrics)["punchstream_target_available"] == 1


def test_a_counter_adds_by_its_labels(metrics: Metrics) -> None:
    metrics.count("punchstream_outcomes_total", outcome="repeat")
    metrics.count("punchstream_outcomes_total", 4, outcome="repeat")
    metrics.count("punchstream_outcomes_total", outcome="delivered")
    assert samples(metrics)['punchstream_outcomes_total{outcome="repeat"}'] == 5
    assert samples(metrics)['punchstream_outcomes_total{outcome="delivered"}'] == 1


def test_the_order_in_which_labels_are_given_does_not_matter(metrics: Metrics) -> None:
    metrics.count("punchstream_dead_letters_total", stage="push", reason="invalid_event")
    metrics.count("punchstream_dead_letters_total", reason="invalid_event", stage="push")
    assert samples(metrics)['punchstream_dead_letters_total{reason="invalid_event",stage="push"}'] == 2


def test_what_is_forgotten_is_not_shown_until_it_is_set_again(metrics: Metrics) -> None:
    series = 'punchstream_pull_behind_timestamp_seconds{device_id="D1"}'
    metrics.gauge("punchstream_pull_behind_timestamp_seconds", 1, device_id="D1")
    metrics.forget("punchstream_pull_behind_timestamp_seconds", device_id="D1")
    assert series not in samples(metrics)
    metrics.gauge("punchstream_pull_behind_timestamp_seconds", 2, device_id="D1")
    assert samples(metrics)[series] == 2


def test_a_gauge_holds_what_was_set_last(metrics: Metrics) -> None:
    metrics.gauge("punchstream_in_flight_bytes", 512)
    metrics.gauge("punchstream_in_flight_bytes", 0)
    assert samples(metrics)["punchstream_in_flight_bytes"] == 0


def test_a_watched_gauge_shows_what_is_true_when_it_is_asked_for(metrics: Metrics) -> None:
    waiting = [512]
    metrics.watch("punchstream_in_flight_bytes", lambda: waiting[-1])
    waiting.append(7)
    assert samples(metrics)["punchstream_in_flight_bytes"] == 7


def test_a_gauge_is_watched_by_its_labels(metrics: Metrics) -> None:
    metrics.watch("punchstream_lag_records", lambda: 3, topic="attendance.raw.v1")
    metrics.watch("punchstream_lag_records", lambda: 5, topic="attendance.checkins.v1")
    assert samples(metrics)['punchstream_lag_records{topic="attendance.raw.v1"}'] == 3
    assert samples(metrics)['punchstream_lag_records{topic="attendance.checkins.v1"}'] == 5


def test_a_histogram_counts_and_sums_seconds(metrics: Metrics) -> None:
    metrics.observe("punchstream_request_seconds", 0.2)
    metrics.observe("punchstream_request_seconds", 1.3)
    assert samples(metrics)["punchstream_request_seconds_count"] == 2
    assert samples(metrics)["punchstream_request_seconds_sum"] == pytest.approx(1.5)


def test_two_instances_do_not_share_their_counts(metrics: Metrics) -> None:
    metrics.count("punchstream_requests_refused_total", reason="overloaded")
    assert not any("overloaded" in name for name in samples(Metrics()))


def test_a_name_that_is_not_in_the_table_cannot_be_counted(metrics: Metrics) -> None:
    with pytest.raises(KeyError):
        metrics.count("punchstream_coffees_total")


def test_a_metric_cannot_be_used_as_another_kind(metrics: Metrics) -> None:
    with pytest.raises(TypeError, match="punchstream_in_flight_bytes is a Gauge, not a Counter"):
        metrics.count("punchstream_in_flight_bytes")
    with pytest.raises(TypeError):
        metrics.gauge("punchstream_request_seconds", 1)


def test_a_label_that_the_table_does_not_name_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match=r"."):
        metrics.count("punchstream_outcomes_total", mood="good")


def test_a_part_that_is_not_ready_is_answered_with_its_reason_until_it_is(metrics: Metrics) -> None:
    def get(path: str) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{port}{path}"
        answer = requests.get(url, timeout=5)
        return answer.status_code, answer.content

    port = free_port()
    metrics.serve("127.0.0.1", port)
    assert get("/readyz") == (200, b'{"ok":true,"reasons":[]}')
    metrics.ready("zone", "zone in doubt: it changed")
    assert get("/readyz") == (503, b'{"ok":false,"reasons":["zone in doubt: it changed"]}')
    assert get("/healthz")[0] == 200
    status, exposition = get("/metrics")
    assert (status, b"# HELP punchstream_waiting " in exposition) == (200, True)
    metrics.ready("zone", None)
    assert get("/readyz")[0] == 200


def test_they_are_served_by_ipv6_too(metrics: Metrics) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as found:
        port = found.getsockname()[1]
    metrics.serve("::1", port)
    assert requests.get(f"http://[::1]:{port}/readyz", timeout=5).json() == {"ok": True, "reasons": []}


def test_port_0_serves_nothing(metrics: Metrics) -> None:
    before = threading.active_count()
    metrics.serve("127.0.0.1", 0)
    assert threading.active_count() == before


def test_every_kind_is_one_of_three() -> None:
    assert {metric.kind for metric in TABLE.values()} == {Counter, Gauge, Histogram}


def test_a_port_that_is_taken_is_a_wrong_setting(metrics: Metrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="METRICS_PORT"):
        metrics.serve("127.0.0.1", taken.getsockname()[1])
