"""Fields that are called a name, a password, a photograph or a template are emptied, and nothing else is."""

import pytest

from producers.named_fields import without_personal

EMPTIED = {
    b'{"user":"7","name":"Ali Baba","deviceName":"X","Passwd":1234,"feature":[1,2],"faces":[{"name":"Z"}]}': (
        b'{"user":"7","name":"","deviceName":"X","Passwd":"","feature":"","faces":[{"name":""}]}'
    ),
    b'{"x":"{\\"name\\":\\"Ali\\",\\"user\\":\\"8\\"}"}': b'{"x":"{\\"name\\":\\"\\",\\"user\\":\\"8\\"}"}',
    b'{"name":"Ali': b'{"name":""',
    b"USER PIN=1\tName=Ali Baba\tPri=0\tPasswd=1\nFP PIN=1\tFID=0\tTMP=abcd\n": (
        b"USER PIN=1\tName=\tPri=0\tPasswd=\nFP PIN=1\tFID=0\tTMP=\n"
    ),
    b"Pin=1 Name=Ali B Passwd=1 Time=08:00": b"Pin=1 Name= Passwd= Time=08:00",
    b"user=7&name=Ali+Baba&data=%7B%22name%22%3A%22Q%22%2C%22u%22%3A%221%22%7D": (
        b"user=7&name=&data=%7B%22name%22%3A%22%22%2C%22u%22%3A%221%22%7D"
    ),
    b'<a><name>Ali</name><no>7</no><Name><![CDATA[B]]></Name><p name="q" id="1"/></a>': (
        b'<a><name></name><no>7</no><Name></Name><p name="" id="1"/></a>'
    ),
    b'--b\r\nContent-Disposition: form-data; name="Name"\r\n\r\nAli\r\n--b\r\nContent-Disposition: form-data; '
    b'name="event"\r\n\r\n{"user":"7"}\r\n--b--': (
        b'--b\r\nContent-Disposition: form-data; name="Name"\r\n\r\n\r\n--b\r\nContent-Disposition: form-data; '
        b'name="event"\r\n\r\n{"user":"7"}\r\n--b--'
    ),
}


@pytest.mark.parametrize("body", EMPTIED)
def test_what_is_never_kept_is_emptied_whatever_document_it_is_in(body: bytes) -> None:
    assert without_personal(body) == EMPTIED[body]
    assert without_personal(EMPTIED[body]) == EMPTIED[body]


@pytest.mark.parametrize(
    "body",
    [
        b'{"device_id":"GATE-1","events":[{"user_id":"1042","time":"2026-03-02 08:00:00","type":"IN"}]}',
        b"1042\t2026-03-02 08:00:00\t0\t1\r\n" * 10,
        b'{"idcardNum":"1042","personId":"","type":"card_0"}',
        b"~DeviceName=F18,MAC=00:17:61,TransactionCount=0",
        b"",
    ],
)
def test_what_a_punch_is_read_by_stays(body: bytes) -> None:
    assert without_personal(body) == body


def test_a_field_that_an_entry_takes_for_the_user_stays() -> None:
    assert without_personal(b'{"name":"42","password":"x"}', {"name"}) == b'{"name":"42","password":""}'
