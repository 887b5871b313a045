import base64
import gzip
import re
import time
import zlib
from collections.abc import Callable
from random import Random
from urllib.parse import quote_plus, unquote_plus
from xml.sax.saxutils import escape

import orjson
import pytest
from hidden_forms import FORMS, is_left
from hypothesis import given
from hypothesis import strategies as st

from producers.named_fields import without_personal
from producers.pictures import LARGEST_UNPACKED, cut, redact, unpacked, without_binary

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


PART = ENCODED[200:1700]


def test_each_of_several_photographs_in_lines_is_replaced_however_long_its_lines_are() -> None:
    def lines(width: int) -> bytes:
        return b" ".join(PART[at : at + width] for at in range(0, len(PART), width))

    data = b" ".join((b"of=" + lines(64), b"x=" + lines(60), b"y=" + lines(64), b"user 7 at the gate"))
    assert redact(data).count(b" bytes redacted]") == 3
    assert not is_left(PART.decode(), redact(data))
    assert redact(data).endswith(b" user 7 at the gate")


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


@pytest.mark.timeout(90)
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


WEBP = b"RIFF\x10\x20\0\0WEBPVP8 " + Random(4).randbytes(2000)
PARTS = {
    "as it should be": (b"--b\r\n", b"\r\n"),
    "line feeds alone": (b"--b\n", b"\n"),
    "a doubled boundary": (b"--b\r\n--b\r\n", b"\r\n"),
}


def multipart(begin: bytes, end: bytes, *contents: tuple[bytes, bytes]) -> bytes:
    parts = [begin + b"Content-Type: " + kind + end + end + content + end for kind, content in contents]
    return b"".join(parts) + b"--b--" + end


@pytest.mark.parametrize("picture", [JPEG, PNG, WEBP, Random(6).randbytes(2000)], ids=["JPEG", "PNG", "WebP", "other"])
@pytest.mark.parametrize("form", PARTS)
def test_a_picture_is_cut_out_of_a_multipart_body_and_the_parts_around_it_stay(form: str, picture: bytes) -> None:
    begin, end = PARTS[form]
    name = "张".encode("gbk")
    before, after = b'{"user":"7","name":"%b"}' % name, b'{"user":"8"}'
    json, image = b"application/json", b"image/jpeg"
    found = cut(multipart(begin, end, (json, before), (image, picture), (json, after)))
    note = b"[%d bytes redacted]" % len(picture)
    assert found.data == multipart(begin, end, (json, before), (image, note), (json, after))
    assert found.is_text
    assert found.removed == (f"a picture, {len(picture)} bytes",)


@pytest.mark.parametrize(
    "encode",
    [
        base64.b64encode,
        base64.urlsafe_b64encode,
        lambda data: data.hex().encode(),
        lambda data: base64.encodebytes(data).strip(),
        lambda data: orjson.dumps(base64.encodebytes(data).decode())[1:-1],
        lambda data: base64.b64encode(data).replace(b"/", b"\\/").replace(b"+", b"\\u002b"),
        lambda data: quote_plus(base64.b64encode(data)).encode(),
        lambda data: quote_plus(quote_plus(base64.encodebytes(data).strip())).encode(),
    ],
)
def test_an_encoded_picture_is_cut_out(encode: Callable[[bytes], bytes]) -> None:
    photo = encode(JPEG)
    found = cut(b'{"user":"7","photo":"%b","time":"08:00"}' % photo)
    assert found.data == b'{"user":"7","photo":"[%d bytes redacted]","time":"08:00"}' % len(photo)


def test_a_form_whose_value_is_json_is_no_picture() -> None:
    record = orjson.dumps([{"personSn": "417", "recordTime": 1772427600000, "resultFlag": 1}] * 20)
    form = b"data=" + quote_plus(record).encode()
    assert cut(form) == (form, (), True)
    with_photo = form + quote_plus(b'"photo":"' + ENCODED).encode()
    assert cut(with_photo).data.startswith(form)
    assert ENCODED[40:120] not in cut(with_photo).data


def test_a_picture_in_json_of_two_bytes_a_letter_is_cut_out() -> None:
    text = '{"name":"张","photo":"%s","user":"7"}'
    for encoding in ("utf-16", "utf-16-be", "utf-32-le"):
        found = cut((text % ENCODED.decode()).encode(encoding))
        assert found.data.decode(encoding) == text % f"[{len(ENCODED)} bytes redacted]"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"1042\t2026-03-02 08:00:00\t0\t1\t0\t0\r\n" * 100,
        b"\r\n".join(b"%d" % number for number in range(10**9, 10**9 + 400)),
        "سارة \N{SNOWMAN}".encode() * 50,
        "张伟".encode("gbk") * 50,
        "Zoë".encode("latin-1") * 50,
        b'{"text":"a\ttab and\0a NUL"}',
        b"a NUL at the end\0\0\0\0",
    ],
)
def test_text_stays_as_it_is(body: bytes) -> None:
    assert cut(body) == (body, (), True)


@pytest.mark.parametrize("data", [JPEG[4:], WEBP, b"7" + Random(7).randbytes(400)])
def test_what_is_no_text_is_noticed_and_can_be_left_out(data: bytes) -> None:
    found = cut(b'{"user":"7","face":"' + data + b'","time":"08:00"}')
    assert found.is_text == (data is WEBP)
    rest = without_binary(found)
    assert rest.is_text
    assert rest.data.startswith(b'{"user":"7","fa')
    assert rest.data.endswith(b'"time":"08:00"}')
    assert not any(data[start : start + 24] in rest.data for start in range(0, len(data) - 24, 8))


@given(
    st.binary(max_size=2000)
    | st.lists(
        st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n", b"\r\n--b", b"a" * 128, b"\0", b"%2B", b"\xfe\xff"])
    ).map(b"".join)
)
def test_what_was_cut_once_has_nothing_left_to_cut(data: bytes) -> None:
    found = cut(data)
    assert cut(found.data).data == found.data
    assert found.is_text or cut(without_binary(found).data).is_text


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "pattern",
    [b"a" * 127 + b" ", b"a", b"%2B", b"\xff\xd8\xff\r\n--", b"\\", b"%25", b"\0" + b"a" * 64, b"\xff", b"\r\n"],
)
def test_two_megabytes_chosen_to_be_slow_are_cut_fast(pattern: bytes) -> None:
    without_binary(cut(pattern * (2_000_000 // len(pattern))))


def test_a_compressed_body_is_unpacked_within_bounds() -> None:
    for packed, encoding in ((gzip.compress(b"text"), ""), (zlib.compress(b"text"), "deflate")):
        assert unpacked(packed, encoding) == b"text"
    assert unpacked(b"text", "") is None
    assert unpacked(b"text", "gzip") is None
    assert unpacked(gzip.compress(b"0" * (LARGEST_UNPACKED + 1)), "gzip") is None


def test_the_record_behind_an_encoded_picture_stays() -> None:
    for picture in (base64.encodebytes(JPEG), base64.b64encode(JPEG) + b"\r\n"):
        for record in (b"1042\t2026-03-02 08:00:00", b"1042,2026-03-02", b"1042:7"):
            assert cut(b"photo\t" + picture + record).data.endswith(record)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "document",
    [
        b'{"user":"1042","x":%b,"time":"2026-03-02 08:00:00"}',
        b"user=1042&x=%b&time=2026-03-02+08%%3A00%%3A00",
        b"PIN=1042\tx=%b\tTime=2026-03-02 08:00:00\n",
        b"<r><user>1042</user><x>%b</x><time>2026-03-02 08:00:00</time></r>",
    ],
    ids=["JSON", "a form", "a line", "XML"],
)
def test_a_template_in_any_form_is_cut_out_of_any_document_and_the_rest_stays(form: str, document: bytes) -> None:
    hidden = FORMS[form](Random(9).randbytes(900))
    if document.startswith(b"{"):
        written = orjson.dumps(hidden)
    elif document.startswith(b"user"):
        written = quote_plus(hidden).encode()
    else:
        legal = "".join(each for each in hidden if each.isprintable() or each == "\n")
        written = escape(legal).encode() if document.startswith(b"<") else legal.encode()
    data = cut(document % written).data
    assert not is_left(hidden, data, unquote_plus(data.decode()).encode())
    assert b"1042" in data
    assert b"08:00:00" in data or b"08%3A00%3A00" in data


@pytest.mark.parametrize("seed", range(20))
def test_base45_of_the_smallest_template_is_cut_out(seed: int) -> None:
    hidden = FORMS["base45"](Random(seed).randbytes(250))
    data = cut(b"PIN=1042\tx=%b\tTime=2026-03-02 08:00:00\n" % hidden.encode()).data
    assert not is_left(hidden, data)
    assert data.startswith(b"PIN=1042\t")
    assert data.endswith(b"\tTime=2026-03-02 08:00:00\n")


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({"users": list(range(1000, 1100))}),
        orjson.dumps({"times": [1772427600 + 7 * each % 600 for each in range(100)]}),
        orjson.dumps([[user, 1772427600 + user, 0, 1] for user in range(100)]),
        orjson.dumps([[1042, [2026, 3, 2, 8, minute, 0]] for minute in range(50)]),
        b"".join(b"%d 20260302 08%02d00 0 1\n" % (1042 - minute, minute) for minute in range(50)),
        b"08:00:00 12:00:00 13:00:00 17:00:00 " * 20,
        ",".join(f"3f2504e0-4f89-11d3-9a0c-0305e82c{each:04x}" for each in range(1000, 1040)).encode(),
        quote_plus("سارة في الطابق الثاني " * 10).encode(),
        b'{"url":"https://gate.example:8443/ISAPI/Event/notification?format=json&security=1&iv=0a1b#part-2"}',
        b"He came in by the north gate, and left by the south gate. " * 20,
        b'{"user_id":"%b"}' % (b"9" * 120),
    ],
)
def test_ids_times_and_sentences_are_no_template(body: bytes) -> None:
    assert cut(body) == (body, (), True)


@pytest.mark.parametrize(
    "pattern", [b"1 ", b"aa:", b'"\\', b"<a", b"&a=%7B", b"=3D", b"\\x41", b"Ab1!#$%&()", b"Abc1 "]
)
def test_twice_the_size_takes_no_more_than_about_twice_the_time(pattern: bytes) -> None:
    def seconds(size: int) -> float:
        data, before = pattern * (size // len(pattern)), time.process_time()
        without_personal(without_binary(cut(data)).data)
        return time.process_time() - before

    assert min(seconds(160_000) for _ in range(3)) < 4 * min(seconds(80_000) for _ in range(3)) + 0.05


@given(
    st.lists(st.sampled_from([*b'"\\=&%<>\n\t ,;{}[]:-', *range(48, 58), 97, 194, 128, 255, 0]), max_size=400).map(
        bytes
    )
)
def test_nothing_that_is_sent_makes_it_fail(data: bytes) -> None:
    without_personal(without_binary(cut(data)).data)
    redact(data)


@pytest.mark.parametrize("form", ["quoted-printable", "uuencoded"])
def test_lines_that_became_one_line_are_cut_out(form: str) -> None:
    hidden = FORMS[form](Random(18).randbytes(900)).replace("\n", " ")
    found = cut(f"PIN=7\tTMP={hidden}\tpin=8".encode())
    assert found.data.startswith(b"PIN=7\tTMP=")
    assert found.data.endswith(b"\tpin=8")
    assert len(found.data) < 100
