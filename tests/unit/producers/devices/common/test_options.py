from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from producers.devices import ADAPTERS, Way, check_entry, create_file_adapter, create_pull_adapter, create_push_adapter
from producers.devices.common.options import read_options
from producers.devices.contract import Options, Tools
from producers.devices.hfsecurity.recognition import HfSecurityOptions
from producers.devices.hikvision.push import HikvisionOptions

# Options without which an adapter's entry cannot work.
NEEDED = {
    "biotime_sql": {"read_database": True},
    "etimetracklite": {"read_database": True},
    "rest": {"path": "/log", "fields": {"user": "u", "time": "t"}, "query": {"from": "{from}"}},
    "sql": {"read_database": True, "query": 'SELECT id AS sequence, badge AS "user", at AS "time" WHERE id > :cursor'},
}
EVERY = [(way, name) for way, adapters in ADAPTERS.items() for name in adapters]


def entry(adapter: str, options: dict[str, object], **fields: object) -> Device:
    common = {"device_id": "D1", "site": "hq", "timezone": "UTC", "token_sha256": "0" * 64, "host": "192.0.2.7"}
    return Device.model_validate(common | {"adapter": adapter, "options": options} | fields)


@pytest.mark.parametrize(("way", "name"), EVERY)
def test_every_adapter_takes_its_options_and_no_other(way: Way, name: str) -> None:
    options = NEEDED.get(name, {})
    check_entry(way, entry(name, options))
    with pytest.raises(ConfigurationError) as raised:
        check_entry(way, entry(name, options | {"colour": "red"}))
    assert str(raised.value).startswith("D1: options.colour: there is no such option; there ")


@pytest.mark.parametrize(("way", "name"), [each for each in EVERY if each[1] in NEEDED])
def test_an_option_that_is_needed_is_missed(way: Way, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^D1: options\."):
        check_entry(way, entry(name, {}))


@pytest.mark.parametrize(
    ("way", "name", "options", "message"),
    [
        ("push", "hikvision", {"punch_events": "75"}, "options.punch_events: "),
        ("pull", "hikvision", {"other_events": ["door"]}, "options.other_events.0: "),
        *[("push", "hikvision", {"punch_events": [wrong]}, "options.punch_events.0: ") for wrong in (True, -1, 70_000)],
        ("push", "hikvision", {"punch_events": {"75": True}}, "options.punch_events: "),
        ("pull", "hikvision", {"punch_events": [9], "other_events": [8, 9]}, "options: 9 is in punch_events and in "),
        ("push", "zkteco_adms", {"punch_events": [9], "other_events": [8, 9]}, "options: 9 is in punch_events and in "),
        ("push", "hfsecurity", {"attendances": {"1": "IN"}}, "options.attendances: there is no such option"),
        ("push", "hfsecurity", {"attendance": {"1": "BREAK"}}, "options.attendance.1: "),
        ("push", "hfsecurity", {"attendance": "IN"}, "options.attendance: "),
        ("pull", "hfsecurity", {"callback_url": "no address"}, "options.callback_url: must be an address"),
        ("pull", "hfsecurity", {"callback_url": 7}, "options.callback_url: "),
        ("pull", "sql", {"read_database": True, "query": "DROP TABLE x"}, "options.query: it must begin by SELECT"),
        ("pull", "biotime_sql", {"read_database": "yes"}, "options.read_database: true is needed to read a database"),
        ("pull", "zkbiotime", {"tls": "perhaps"}, "options.tls: "),
        ("file", "csv", {"profile": "excel"}, "options.profile: 'excel' is none of "),
        ("file", "attlog", {"columns": ["user", "state"]}, "options.columns: user and time must be among them"),
        ("file", "attlog", {"columns": ["user", "time", "time"]}, "options.columns: time is among them twice"),
        ("file", "csv", {"columns": {"user": 1, "time": 1}}, "options.columns: 1 is taken for two things"),
        ("file", "csv", {"columns": {"user": "No.", "time": " no "}}, "options.columns: 'No.' is taken for two things"),
        ("file", "csv", {"columns": {"user": " ", "time": "T"}}, "options.columns: a column has a name"),
        *[
            ("file", "csv", {"date_format": wrong}, "options.date_format: ymd, dmy, mdy, excel, excel1904 or a format")
            for wrong in ("%Q", "%d.%m.%Y", "%H:%M", "%d %d", "%", "50 %", "%d/%m/%Y %I:%M")
        ],
        *[
            ("file", "csv", {"delimiter": wrong}, "options.delimiter: it is one character")
            for wrong in ('"', "\n", "\\t", "x", ";;")
        ],
        ("file", "csv", {"after_midnight": 5}, "options.after_midnight: it is a time of day, such as 05:00"),
        ("file", "csv", {"directions": {"F1": "IN", " F1": "OUT"}}, "options.directions: 'F1' is given twice"),
        (
            "pull",
            "sql",
            NEEDED["sql"] | {"directions": {"In": "IN", "in ": "OUT"}},
            "options.directions: 'in' is given",
        ),
        ("pull", "rest", NEEDED["rest"] | {"time_format": "%d %d"}, "options.time_format: iso, epoch, epoch_ms or a "),
        ("pull", "rest", NEEDED["rest"] | {"timezone": "Mars/Base"}, "options.timezone: 'Mars/Base' is not an IANA"),
        *[
            ("pull", "rest", NEEDED["rest"] | {"records": wrong}, "options.records: a name, or names joined by dots")
            for wrong in ("a..b", ".a", "a.", " ")
        ],
        *[
            ("push", "hfsecurity", {"callback_url": wrong}, "options.callback_url: must be an address such as http")
            for wrong in (
                *("ftp://gate/hf/{token}", "gate:8080/hf/{token}", "http:///hf", "http://gate:99999/hf/{token}"),
                *(
                    "http://gate/hf/{TOKEN}",
                    "http://gate/h f/{token}",
                    "http://gate/hf?t={token}",
                    "http://u:p@gate/hf",
                ),
            )
        ],
    ],
)
def test_a_wrong_option_is_named_with_its_device(way: Way, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        check_entry(way, entry(name, options))
    assert str(raised.value).startswith(f"D1: {message}")


def model_of(way: Way, name: str) -> type[Options]:
    match way:
        case "push":
            return create_push_adapter(name, ()).options
        case "pull":
            return create_pull_adapter(name, Tools(http=None, secret=lambda *_: "", payload_fields=())).options  # type: ignore[arg-type] - nothing is asked
        case "file":
            return create_file_adapter(name, ()).options


def parts(annotation: object) -> Iterator[object]:
    """An annotation and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from parts(part)


def every_option(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        yield (*above, name), field
        for part in parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from every_option(part, (*above, name))


OPTIONS = [(way, name, *each) for way, name in EVERY for each in every_option(model_of(way, name))]


def refused(way: Way, name: str, place: tuple[str, ...], value: object, to: str | None = None) -> str:
    """What is said of an entry of which one option has this value, behind the place of the option."""
    options: dict[str, Any] = dict(NEEDED.get(name, {}))
    within = options
    for above in place[:-1]:
        within[above] = dict(within.get(above, {}))
        within = within[above]
    within[place[-1]] = value
    with pytest.raises(ConfigurationError) as raised:
        check_entry(way, entry(name, options))
    named = "D1: " + ".".join(("options", *(place if to is None else (*place, to))))
    assert str(raised.value).startswith(named)
    return str(raised.value).removeprefix(named)


def kinds(field: FieldInfo) -> set[object]:
    return set(parts(field.annotation)) - {type(None)}


@pytest.mark.parametrize(("way", "name", "place", "field"), OPTIONS)
def test_of_an_option_that_is_nearly_written_so_the_name_is_told(
    way: Way, name: str, place: tuple[str, ...], field: FieldInfo
) -> None:
    assert field is not None
    slip = (*place[:-1], f"{place[-1].title()}s")
    assert f"did you mean {place[-1]}?" in refused(way, name, slip, "x")


@pytest.mark.parametrize(("way", "name", "place", "field"), [each for each in OPTIONS if str in kinds(each[3])])
def test_no_option_is_an_empty_text_that_is_not_so_by_itself(
    way: Way, name: str, place: tuple[str, ...], field: FieldInfo
) -> None:
    if field.default != "" and not of_words(field):
        assert "is empty" in refused(way, name, place, "")


def of_numbers(field: FieldInfo) -> bool:
    return int in kinds(field) and not kinds(field) & {bool, Any}


@pytest.mark.parametrize(("way", "name", "place", "field"), [each for each in OPTIONS if of_numbers(each[3])])
def test_no_number_is_a_flag_or_below_zero(way: Way, name: str, place: tuple[str, ...], field: FieldInfo) -> None:
    assert "true and false" in refused(way, name, place, value=True)
    is_list = get_origin(field.annotation) is frozenset
    # Of a table's columns all have to be there before one is looked at.
    if place[0] != "columns":
        refused(way, name, place, [-1] if is_list else -1)


def of_words(field: FieldInfo) -> bool:
    return any(get_origin(part) in (dict, Mapping) for part in kinds(field))


@pytest.mark.parametrize(("way", "name", "place", "field"), [each for each in OPTIONS if of_words(each[3])])
def test_no_word_has_two_meanings(way: Way, name: str, place: tuple[str, ...], field: FieldInfo) -> None:
    assert field is not None
    assert "is given twice" in refused(way, name, place, {1: "IN", "1": "OUT"}, to="1")
    for key in (True, None, 1.5):  # YAML reads `yes` as true, and nothing at all as null
        assert "in quotes" in refused(way, name, place, {key: "IN"}, to=str(key))


ASKED_AT_A_HOST = ["hfsecurity", "hikvision", "rest", "zkbiotime", "zkteco_tcp"]


@pytest.mark.parametrize("name", ADAPTERS["pull"])
def test_an_entry_that_is_asked_has_a_host_unless_it_is_a_database(name: str) -> None:
    device = entry(name, NEEDED.get(name, {}), host=None)
    if name not in ASKED_AT_A_HOST:
        check_entry("pull", device)
        return
    with pytest.raises(ConfigurationError, match=r"^D1: host: is needed$"):
        check_entry("pull", device)
    if name in ADAPTERS["push"]:
        check_entry("push", device)


def test_an_adapter_that_is_not_there_is_named_with_the_device() -> None:
    with pytest.raises(ConfigurationError, match=r"^D1: adapter 'zkbiotime' is none of the push adapters"):
        check_entry("push", entry("zkbiotime", {}))


def test_an_entry_that_pushes_and_is_asked_has_the_options_of_both() -> None:
    for name, options in {
        "hikvision": {"tls": True, "punch_events": [75]},
        "hfsecurity": {"tls": True, "attendance": {1: "in"}, "callback_url": "http://192.0.2.1/hf/{token}"},
    }.items():
        check_entry("push", entry(name, options))
        check_entry("pull", entry(name, options))


def test_what_an_entry_says_now_counts_whatever_was_read_before() -> None:
    device = entry("hfsecurity", {"direction": {1: "IN"}})
    assert read_options(device, HfSecurityOptions).direction == {"1": "IN"}
    device.options["direction"][1] = "OUT"
    assert read_options(device, HfSecurityOptions).direction == {"1": "OUT"}
    changed = device.model_copy(update={"options": {"direction": {"1": "IN"}}})
    assert read_options(changed, HfSecurityOptions).direction == {"1": "IN"}
    assert read_options(device, HfSecurityOptions).direction == {"1": "OUT"}


def test_what_one_adapter_takes_no_other_has_to_take() -> None:
    device = entry("hfsecurity", {"qr_codes": True})
    assert read_options(device, HfSecurityOptions).qr_codes
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"^D1: options\.qr_codes: there is no such option"):
            read_options(device, HikvisionOptions)


def test_what_is_written_alike_and_of_another_type_is_not_the_same() -> None:
    for event, accepted in ((1, True), (True, False), (1, True)):
        device = entry("hikvision", {"punch_events": [event]})
        if accepted:
            assert read_options(device, HikvisionOptions).punch_events == {1}
        else:
            with pytest.raises(ConfigurationError, match=r"^D1: options\.punch_events\.0: "):
                read_options(device, HikvisionOptions)
