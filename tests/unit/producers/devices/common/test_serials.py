import pytest

from producers.devices.common.serials import is_serial_of_entry


@pytest.mark.parametrize("in_entry", ["DS-K1T342MX20230101V031200ENAB1234567", "AB1234567", " ab1234567"])
def test_a_serial_number_may_be_in_the_entry_as_on_the_label(in_entry: str) -> None:
    assert is_serial_of_entry("DS-K1T342MX20230101V031200ENAB1234567", in_entry)


@pytest.mark.parametrize("reported", ["", "AB1234568", "AB1234567X", "1234567"])
def test_another_serial_number_is_another_device(reported: str) -> None:
    assert not is_serial_of_entry(reported, "AB1234567")


def test_a_short_number_is_only_itself() -> None:
    assert is_serial_of_entry("567", "567")
    assert not is_serial_of_entry("1234567", "567")
