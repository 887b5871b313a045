"""A client that offers another protocol is served as if it had not: what it sends is a punch all the same."""

import pytest
from attacked import Answers, Attacked, batch, post

JAVA = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_offered_upgrade_costs_no_punch(push: Attacked, *, chunked: bool) -> None:
    plain = post(batch("1003"))
    offers = [
        post(batch("1001"), *JAVA, chunked=chunked),
        post(batch("1002"), "Connection: keep-alive, upgrade", "Upgrade: TLS/1.0, websocket", chunked=chunked),
        plain,
        post(batch("1004"), *JAVA, chunked=chunked),
    ]
    with push.connect() as connection:
        connection.sendall(b"".join(offers))
        answers = Answers(connection)
        assert [answers.next().status for _ in offers] == [200] * 4
    # As slow networks bring them: a byte at a time, and the body behind its head.
    with push.connect() as connection:
        answers = Answers(connection)
        for byte in post(batch("1005"), *JAVA, chunked=chunked):
            connection.sendall(bytes([byte]))
        assert answers.next().status == 200
        connection.sendall(post(b"", *JAVA, "Expect: 100-continue").replace(b"Length: 0", b"Length: 93"))
        assert answers.next().status == 100
        connection.sendall(batch("1006"))
        assert answers.next().status == 200
    assert push.users()[-6:] == ["1001", "1002", "1003", "1004", "1005", "1006"]
    assert push.records("dead_letters") == []


def test_http_2_is_refused_in_words_that_its_sender_can_read(push: Attacked) -> None:
    answer = push.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert answer.status == 505
    assert b"HTTP/1.1" in answer.body
