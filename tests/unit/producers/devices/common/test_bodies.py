import json
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from producers.devices.common.bodies import (
    check_unambiguous,
    filled,
    given_twice,
    read_body,
    read_document,
    read_json,
    read_query,
    read_records,
    read_xml,
    write_record,
    xml_fields,
)
from producers.devices.common.multipart import read_multipart
from producers.devices.contract import MAX_EVENTS

PUNCH = {"user": "7", "name": "Zoë", "number": 3}
WRITTEN = json.dumps(PUNCH, ensure_ascii=False)
FORM = "application/x-www-form-urlencoded"


def refusal(content_type: str, body: bytes) -> Reason:
    with pytest.raises(InvalidRecord) as caught:
        read_body(content_type, body)
    return caught.value.reason


def multipart(*parts: bytes, line_end: bytes = b"\r\n", end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b" + line_end + part + line_end for part in parts) + end


def part(name: str, content: bytes, *headers: bytes) -> bytes:
    disposition = b'Content-Disposition: form-data; name="%b"' % name.encode()
    return b"\r\n".join((disposition, *headers, b"", content))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("around", ["{}", " \r\n{}\r\n"])
def test_json_is_read_in_every_encoding_that_it_may_have(encoding: str, around: str) -> None:
    assert read_json(around.format(WRITTEN).encode(encoding)) == PUNCH
    assert read_body("text/plain", WRITTEN.encode(encoding)) == PUNCH


def test_bytes_of_another_encoding_hide_nothing_but_themselves() -> None:
    assert read_json(WRITTEN.encode("cp1252")) == PUNCH | {"name": "Zo\ufffd"}
    assert read_body(FORM, b"user=7&name=Zo\xeb") == {"user": "7", "name": "Zo\ufffd"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 5000 + b"]" * 5000, b"9" * 5000, b"<a/>"]
)
def test_what_is_no_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_json(body)
    assert caught.value.reason is Reason.UNREADABLE_BODY


@pytest.mark.parametrize(
    "body",
    [
        b'{"user": "7", "list": [1, 2,], "text": "a\tb,]",}',
        b'{"user": "7", "list": [1, 2 , \r\n], "text": "a\tb,]" , }\0\0\r\n\0',
        b'\xef\xbb\xbf{"user": "7", "list": [1, 2], "text": "a\tb,]"}',
        '{"user": "7", "list": [1, 2,], "text": "a\tb,]",}\0'.encode("utf-16-le"),
    ],
)
def test_a_comma_too_many_a_raw_tab_and_nul_bytes_at_the_end_hide_nothing(body: bytes) -> None:
    assert read_body("application/json", body) == {"user": "7", "list": [1, 2], "text": "a\tb,]"}


@pytest.mark.parametrize(
    "body", [b"[1,,]", b"[1,,2]", b'{"a": NaN,}', b'{"a": 1e999,}', b'{"a": "\\ud800",}', b'{"a": "b,}', b'{"a": 1,}}']
)
def test_what_would_have_to_be_guessed_is_unreadable(body: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_json(body)
    assert caught.value.reason is Reason.UNREADABLE_BODY


def test_a_name_with_two_values_is_told_where_a_comma_is_too_many() -> None:
    assert given_twice(read_json(b'{"user": "1", "user": "2",}'), {"user"}) == ["user"]


@given(st.text(alphabet='"\\,[]{}1a \t', max_size=40))
@settings(deadline=None)
def test_reading_leniently_changes_nothing_that_is_json(text: str) -> None:
    try:
        exact = json.loads(text)
    except ValueError:
        return
    assert read_json(text.encode()) == exact


@pytest.mark.parametrize("number", [0, -(2**63), 2**63, 2**64 - 1])
def test_an_integer_of_64_bits_is_one(number: int) -> None:
    assert read_json(f'[{number}, "a", "a\\"", {{"b": 1, "b": 2}}]'.encode())[0] == number  # type: ignore[index]
    assert read_json(f"[{number}]".encode()) == [number]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_a_longer_integer_is_kept_as_it_was_written(number: int) -> None:
    assert read_json(f'{{"a": {number}}}'.encode()) == {"a": str(number)}


@pytest.mark.parametrize(
    "body",
    [
        b'{"user": "1", "user": "2"}',
        b'{"user": "1", "us\\u0065r": "2"}',
        b'{"user" : "1", "user" : 1}',
        b'{"user": "1", "user": "1", "user": "2"}',
        b"\xef\xbb\xbf" + b'{"user": "1", "user": "2"}',
        b"user=1&user=2",
        b"<a><user>1</user><user>2</user></a>",
        multipart(part("user", b"1"), part("user", b"2")),
    ],
)
def test_a_name_with_two_values_is_told_in_every_form(body: bytes) -> None:
    fields = read_body("multipart/form-data" if body.startswith(b"--") else FORM, body)
    assert given_twice(fields, {"user", "name"}) == ["user"]
    with pytest.raises(InvalidRecord, match="user is given twice"):
        check_unambiguous(fields, {"user"})
    check_unambiguous(fields, {"name"})


@pytest.mark.parametrize(
    "body", [b'{"user": "1", "user": "1"}', b"user=1&user=1", b"<a><user>1</user><user>1</user></a>"]
)
def test_a_name_with_one_value_twice_says_one_thing(body: bytes) -> None:
    fields = read_body(FORM, body)
    assert fields == {"user": "1"}
    assert not given_twice(fields, {"user"})


def test_a_name_with_two_values_is_told_where_it_stands() -> None:
    content = read_json(b'{"events": [{"user": "1"}, {"user": "2", "user": "3"}], "events2": {"a": {"b": 1, "b": 2}}}')
    assert isinstance(content, dict)
    assert not given_twice(content, {"events", "user", "b"})
    assert [list(given_twice(event, {"user"})) for event in content["events"]] == [[], ["user"]]
    assert given_twice(content["events2"]["a"], {"b"}) == ["b"]


# Characters whose second byte is a backslash, alone and before what would be an escape.
@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        *[
            ("gbk", "张三"),
            ("gbk", "誠"),
            ("gbk", "乗n誠x乗"),
            ("big5", "許功蓋"),
            ("shift-jis", "表ソ"),
            ("euc-kr", "김"),
        ],
        *[("latin-1", "Müller"), ("cp1252", "Zoë"), ("cp1256", "سارة")],
    ],
)
def test_a_name_in_any_encoding_hides_nothing_but_itself(encoding: str, name: str) -> None:
    for raw in (f'{{"name": "{name}", "user": "7"}}', f'{{"a": "{name}", "name": "{name}\\"", "user": "7",}}\0'):
        fields = read_json(raw.encode(encoding))
        assert isinstance(fields, dict)
        assert fields["user"] == "7"
        assert "\ufffd" in fields["name"]
    xml = f'<?xml version="1.0" encoding="UTF-8"?><a><name>{name}</name><user>7</user></a>'
    assert xml_fields(read_xml(xml.encode(encoding)))["user"] == "7"
    declared = xml.replace("UTF-8", encoding).encode(encoding)
    assert xml_fields(read_xml(declared)) == {"name": name, "user": "7"}


@pytest.mark.parametrize("declared", ["utf8", "UTF-16", "no", "gb2312"])
def test_xml_that_declares_another_encoding_than_it_has_is_read(declared: str) -> None:
    xml = f'<?xml version="1.0" encoding="{declared}"?><a><name>Zoë\\n</name><user>7</user></a>'
    assert xml_fields(read_xml(xml.encode())) == {"name": "Zoë\\n", "user": "7"}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"<a><name>A & B</name><user>7</user></a>", "A & B"),
        (b"<a><name>A &amp; B &c; &#65;</name><user>7</user></a>", "A & B &c; A"),
        (b"<a><name>A\x01</name><user>7</user></a>", "A\ufffd"),
        (b"<a><name>A</name><user>7</user></a>\0\0", "A"),
        (b"\0\r\n<a><name>A</name><user>7</user></a>\r\n--b--", "A"),
        (b"\xff\xfe" + "<a><name>A</name><user>7</user></a>\0".encode("utf-16-le"), "A"),
    ],
)
def test_what_is_wrong_with_xml_and_changes_nothing_of_it_is_passed_over(body: bytes, name: str) -> None:
    assert read_document(body) == {"name": name, "user": "7"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"user": "7", "path": "C:\\dir\\u12"}',
        b'\0{"user": "7", "path": "C:\\dir\\u12"}\x1a',
        b'{"user": "7", "path": "C:\\\\dir\\\\u12"}\0oken": 1}',
        b'{"user": "7", "path": "C:\\dir\\u12"}\xff\xff',
    ],
)
def test_a_backslash_that_escapes_nothing_and_the_rest_of_a_buffer_hide_nothing(body: bytes) -> None:
    assert read_json(body) == {"user": "7", "path": "C:\\dir\\u12"}


@pytest.mark.parametrize("between", ["", "\r\n", "\0", ",\n"])
@pytest.mark.parametrize("last", ["", "\0\0", "\r\n"])
def test_documents_one_after_the_other_are_each_read_as_records(between: str, last: str) -> None:
    body = (between.join(['{"user": "7"}', '{"wrap": [{"user": "8"}]}', '[{"wrap": {"user": "9"}}]']) + last).encode()
    assert read_records(body, "wrap") == [{"user": "7"}, {"user": "8"}, {"user": "9"}]
    with pytest.raises(InvalidRecord, match="several"):
        read_json(body)
    xml = '<?xml version="1.0"?><a><user>7</user></a>'
    assert read_records((xml + between.strip(",") + xml).encode(), "wrap") == [{"user": "7"}, {"user": "7"}]


@pytest.mark.parametrize(
    "body", [b'{"user": "7"}{"us', b'{"user": "7"}\0{"us', b'{"user": "7"}x', b'{"user": "7"} 8', b"{} " * 20_002]
)
def test_a_document_that_breaks_off_after_another_is_unreadable(body: bytes) -> None:
    with pytest.raises(InvalidRecord):
        read_records(body, "wrap")


def test_xml_is_read_with_what_stands_in_its_elements() -> None:
    body = b'\xef\xbb\xbf<?xml version="1.0"?><a xmlns="urn:x"> <b> 1 </b><c><d>2</d><e><f>3</f></e></c><g/></a>\r\n'
    assert read_document(body) == xml_fields(read_xml(body)) == {"b": "1", "c": {"d": "2"}, "g": ""}


@pytest.mark.parametrize(
    "body",
    [b"<a>", b"<a>" * 5000, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"<a>A<B</a>"],
)
def test_xml_that_is_broken_or_more_than_plain_is_unreadable(body: bytes) -> None:
    assert refusal("", body) is Reason.UNREADABLE_BODY


def test_a_multipart_form_is_its_fields_without_its_files() -> None:
    body = multipart(
        part("user", b"7"),
        part("note", b"Wm/Dqw==", b"Content-Transfer-Encoding: base64"),
        b'Content-Disposition: form-data; name="photo"; filename="x.jpg"\r\n\r\nuser=8',
    )
    for content_type in ("multipart/form-data; boundary=b", "multipart/form-data"):
        assert read_body(content_type, body) == {"user": "7", "note": "Zoë"}


@pytest.mark.parametrize("preamble", [b"a preamble\r\n", b"\r\na preamble\r\n", b"-\n"])
def test_what_is_before_the_first_part_of_a_multipart_form_says_nothing(preamble: bytes) -> None:
    body = preamble + multipart(part("user", b"7"))
    assert read_body("multipart/form-data; boundary=b", body) == {"user": "7"}


def test_a_multipart_form_that_breaks_off_is_unreadable_and_its_parts_are_still_there() -> None:
    body = multipart(part("user", b"7"), part("time", b"2026-01-01"), end=b"")[:-6]
    assert refusal("multipart/form-data; boundary=b", body) is Reason.UNREADABLE_BODY
    found = read_multipart(body)
    assert not found.complete
    assert [each.content for each in found.parts] == [b"7", b"2026-0"]


@pytest.mark.parametrize("body", [b"", b"--", b"--b--", b"user=7"])
def test_a_multipart_body_has_a_part(body: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_multipart(body)
    assert caught.value.reason is Reason.UNREADABLE_BODY


def test_a_multipart_body_has_so_many_parts_and_no_more() -> None:
    body = multipart(*[b"\r\n7"] * (MAX_EVENTS + 2))
    with pytest.raises(InvalidRecord) as caught:
        read_multipart(body)
    assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("body", [b"", b"hello", b"\x00\xff", b'"text"', b"7"])
def test_what_is_neither_a_document_nor_a_form_is_unreadable(body: bytes) -> None:
    assert refusal(FORM, body) is Reason.UNREADABLE_BODY


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(values)
@settings(deadline=None)
def test_any_json_is_read_as_it_is(value: object) -> None:
    for ascii_only in (True, False):
        assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.lists(st.tuples(st.sampled_from("abc"), values), max_size=6))
@settings(deadline=None)
def test_no_value_vanishes_unseen(pairs: list[tuple[str, object]]) -> None:
    fields = read_json(
        ("{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}").encode()
    )
    assert isinstance(fields, dict)
    ambiguous = given_twice(fields, "abc")
    for name, value in pairs:
        assert name in ambiguous or fields[name] == value


@given(st.binary(max_size=80), st.sampled_from(["", FORM, "multipart/form-data; boundary=b", "multipart/form-data"]))
@settings(deadline=None)
def test_any_bytes_are_read_or_unreadable(body: bytes, content_type: str) -> None:
    try:
        read_body(content_type, body)
    except InvalidRecord as error:
        assert error.reason is Reason.UNREADABLE_BODY  # noqa: PT017 - only where it is raised


@given(values)
@settings(deadline=None)
def test_a_record_is_kept_as_it_was_read(value: object) -> None:
    read = read_json(json.dumps(value).encode())
    assert read_json(write_record(read)) == read


@pytest.mark.parametrize("values", [(b'"1"', b'"2"'), (b"null", b"1"), (b"1", b"null"), (b'{"a":1,"a":2}', b"0")])
def test_a_name_that_was_given_twice_is_still_given_twice_in_what_is_kept(values: tuple[bytes, bytes]) -> None:
    [record] = read_json(b'[{"user":%b,"time":"now","user":%b}]' % values)  # type: ignore[misc]
    again = read_json(write_record(record))
    assert given_twice(again, ["user", "time"]) == ["user"]
    assert again == record


def test_a_row_of_a_database_is_kept_as_text() -> None:
    row = {"user": "7", "time": datetime(2026, 1, 1, 8), "amount": Decimal("1.50"), "photo": b"\xff"}  # noqa: DTZ001
    assert read_json(write_record(row)) == {"user": "7", "time": "2026-01-01T08:00:00", "amount": "1.50", "photo": "ff"}


def test_a_query_fills_up_what_a_body_leaves_out_and_hides_no_second_value() -> None:
    query = read_query("user=1&user=2&door=3&door=3&empty=")
    assert filled({"user": "7"}, query) == {"user": "7", "door": "3", "empty": ""}
    assert not given_twice(filled({"user": "7"}, query), {"user", "door"})
    assert given_twice(filled({"name": "x"}, query), {"user", "door"}) == ["user"]
    assert given_twice(filled(read_json(b'{"user": 1, "user": 2}'), {}), {"user"}) == ["user"]  # type: ignore[arg-type]
    assert read_query("") == {}


def test_what_is_nested_deeper_than_json_can_be_written_is_left_out_and_nothing_else() -> None:
    deep = b"[" * 600 + b"]" * 600
    record = read_json(b'{"user": "7", "deep": ' + deep + b', "user": "8"}')
    kept = read_json(write_record(record))
    assert isinstance(kept, dict)
    assert (kept["user"], given_twice(kept, {"user"})) == ("8", ["user"])
    assert write_record(kept).count(b"[") < 100
