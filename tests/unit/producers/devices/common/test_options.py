import pytest

from attendance.errors import ConfigurationError
from attendance.registry import Device
from producers.devices import ADAPTERS, Way, check_entry

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
    assert str(raised.value) == "D1: options.colour: there is no such option"


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
    ],
)
def test_a_wrong_option_is_named_with_its_device(way: Way, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        check_entry(way, entry(name, options))
    assert str(raised.value).startswith(f"D1: {message}")


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
