import base64
import re
from collections.abc import Callable
from random import Random
from urllib.parse import quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.publisher import redact

JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF" + Random(1).randbytes(2000) + b"\xff\xd9" + Random(2).randbytes(500) + b"\xff\xd9"
)
PNG = b"\x89PNG\r\n\x1a\n" + Random(3).randbytes(2000) + b"IEND\xaeB`\x82"
ENCODED = base64.b64encode(JPEG)


@pytest.mark.parametrize(
    "photo",
    [
        ENCODED,
        base64.urlsafe_b64encode(JPEG),
        JPEG.hex().encode(),
        base64.encodebytes(JPEG).strip(),
        base64.encodebytes(JPEG).replace(b"\n", b"\r\n").strip(),
        orjson.dumps(base64.encodebytes(JPEG).decode())[1:-1],
        ENCODED.replace(b"/", b"\\/"),
        quote_plus(ENCODED).encode(),
    ],
    ids=["base64", "base64url", "hex", "lines", "crlf lines", "JSON escapes", "escaped slashes", "form"],
)
def test_an_encoded_photograph_is_replaced_by_its_length(photo: bytes) -> None:
    before, after = b'{"user_id": "7", "photo": "', b'", "time": "2026-03-02 08:00:00"'
    assert redact(before + photo + after) == before + b"[%d bytes redacted]" % len(photo) + after


@pytest.mark.parametrize("image", [JPEG, PNG], ids=["JPEG with a thumbnail", "PNG"])
def test_an_image_in_a_multipart_body_is_replaced_and_the_other_parts_stay(image: bytes) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = part % (b"event", b'{"user": "7"}') + part % (b"picture", image) + part % (b"more", b"kept") + b"--b--\r\n"
    redacted = redact(body)
    assert b'{"user": "7"}' in redacted
    assert b"kept" in redacted
    assert b"[%d bytes redacted]" % len(image) in redacted
    assert image[20:60] not in redacted


@pytest.mark.parametrize("photo", [ENCODED, JPEG, PNG], ids=["base64", "JPEG", "PNG"])
def test_a_photograph_that_broke_off_is_replaced_too(photo: bytes) -> None:
    assert re.fullmatch(rb'\{"photo": "\[\d+ bytes redacted\]', redact(b'{"photo": "' + photo[:1500]))


def test_two_photographs_leave_what_stands_between_them() -> None:
    redacted = redact(b'["%b", "07:59", "%b"]' % (ENCODED, ENCODED))
    assert redacted == b'["[%d bytes redacted]", "07:59", "[%d bytes redacted]"]' % (len(ENCODED), len(ENCODED))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"device_id": "GATE-1", "events": [{"user_id": "1042", "time": "2026-03-02 08:00:00", "type": "IN"}',
        b"1042\t2026-03-02 08:00:00\t0\t1\t0\t0\r\n" * 100,
        b"user_id=1042&time=2026-03-02+08%3A00%3A00&type=IN",
        "سارة \N{SNOWMAN}".encode() * 50,
        b"f" * 127,
    ],
)
def test_what_is_no_photograph_stays_as_it_is(body: bytes) -> None:
    assert redact(body) == body


@given(
    st.binary(max_size=2000)
    | st.lists(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n", b"\r\n--", b"a" * 128])).map(b"".join)
)
def test_the_result_is_never_longer_and_has_nothing_left_to_redact(data: bytes) -> None:
    redacted = redact(data)
    assert len(redacted) <= len(data)
    assert not re.search(rb"[A-Za-z0-9+/=]{128}", redacted)
    assert b"\x89PNG\r\n" not in redacted


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", [b"a" * 127 + b" ", b"a", b"\xff\xd8", b"\xff\xd8\xff\r\n--", b"\r", b"\\", b"a "])
def test_two_megabytes_chosen_to_be_slow_are_not(pattern: bytes) -> None:
    assert len(redact(pattern * (2_000_000 // len(pattern)))) <= 2_000_000


@pytest.mark.parametrize("encode", [base64.b64encode, lambda data: data.hex().encode()])
@pytest.mark.parametrize("image", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("length", [20, 50])
def test_the_beginning_of_an_image_that_was_cut_off_goes_too(
    image: bytes, length: int, encode: Callable[[bytes], bytes]
) -> None:
    part = encode((image + b"a face, a face, a face, a face, a face, a face")[:length])
    assert part not in redact(b'{"photo": "' + part)


def test_what_only_looks_a_little_like_an_image_stays() -> None:
    for text in (b"/var/9j/log", b"user ffd8ff", b"/9j/ and no more"):
        assert redact(text) == text
