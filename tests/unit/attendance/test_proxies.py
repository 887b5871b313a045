"""Whom a request is from: what a proxy that is believed says, and nobody else."""

from ipaddress import ip_network

import pytest

from attendance.proxies import Proxies

PROXIES = Proxies([ip_network("10.0.0.0/24"), ip_network("2001:db8:9::/48")])


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["2001:db8::7, 2001:db8:9::1"], "2001:db8::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, nobody"], "10.0.0.1"),
        (["192.0.2.7, nobody, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.7," + "x" * 100_000], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["192.0.2.7" + ", 10.0.0.2" * 50], "10.0.0.2"),
    ],
)
def test_the_last_address_at_which_no_proxy_is_counts(headers: list[str], client: str) -> None:
    assert PROXIES.client("10.0.0.1", [(b"x-forwarded-for", each.encode()) for each in headers]) == client


def test_a_proxy_is_known_by_its_address() -> None:
    assert PROXIES.are_at("10.0.0.7")
    assert PROXIES.are_at("::ffff:10.0.0.7")
    assert PROXIES.are_at("2001:db8:9::1")
    assert not PROXIES.are_at("10.0.1.7")
    assert not PROXIES.are_at("")
    assert not Proxies([]).are_at("127.0.0.1")
