"""What no adapter understood is sealed, and opened by whoever has the key."""

import base64
from pathlib import Path
from typing import Any

import pytest
from example_records import TOPICS, UNREAD
from msgspec.structs import replace

from attendance.errors import ConfigurationError
from attendance.records.unread import MAX_PART, UnreadRequest, joined
from attendance.sealing import Seal, StaysSealed

OLD, NEW = b"o" * 32, b"n" * 32
SECRETS = (b"X05", b"gbk", b"1767243600000", b"riyadh-01/record")


def written(*keys: bytes) -> str:
    return ",".join(base64.b64encode(each).decode() for each in keys)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_of_what_the_sender_wrote_can_be_read_without_the_key() -> None:
    sealed = Seal([NEW]).seal(UNREAD)
    [record] = sealed.to_records(TOPICS["unread"])
    decoded = UnreadRequest.decode(record.value)
    everything = (record.value or b"") + decoded.body
    assert all(each in UNREAD.encode() + UNREAD.body for each in SECRETS)
    assert not [each for each in SECRETS if each in everything]
    assert Seal([NEW]).open(decoded) == UNREAD


def test_every_key_opens_and_the_first_seals() -> None:
    before = Seal([OLD]).seal(UNREAD)
    both = Seal([NEW, OLD])
    assert both.open(before) == UNREAD
    assert both.seal(UNREAD) == Seal([NEW]).seal(UNREAD)
    with pytest.raises(StaysSealed, match=f"sealed with the key {before.sealed}, which SEAL_KEY does not have"):
        Seal([NEW]).open(before)


def test_without_a_key_nothing_is_sealed_and_what_is_not_sealed_needs_none() -> None:
    assert Seal().seal(UNREAD) is UNREAD
    assert Seal().open(UNREAD) is Seal([NEW]).open(UNREAD) is UNREAD


@pytest.mark.parametrize(
    "change", [{"body": b"short"}, {"unread_id": "0" * 64}, {"device_id": "gate"}], ids=["body", "id", "device"]
)
def test_what_was_changed_or_moved_does_not_open(change: dict[str, Any]) -> None:
    with pytest.raises(StaysSealed, match="was changed since"):
        Seal([NEW]).open(replace(Seal([NEW]).seal(UNREAD), **change))


def test_the_parts_of_two_copies_fit_together() -> None:
    large = replace(UNREAD, body=bytes(range(256)) * (MAX_PART // 200)).with_id()
    first, second = (
        [UnreadRequest.decode(each.value) for each in Seal([NEW]).seal(large).to_records("t")] for _ in "ab"
    )
    assert len(first) > 1
    assert Seal([NEW]).open(joined([first[0], *second[1:]])) == large


def test_the_keys_come_from_the_setting_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sealed = Seal([NEW]).seal(UNREAD)
    assert Seal.load().seal(UNREAD) is UNREAD
    monkeypatch.setenv("SEAL_KEY", written(NEW, OLD))
    assert Seal.load().seal(UNREAD) == sealed
    monkeypatch.delenv("SEAL_KEY")
    (tmp_path / "keys").write_text(written(NEW) + "\n" + written(OLD) + "\n")
    monkeypatch.setenv("SEAL_KEY_FILE", str(tmp_path / "keys"))
    assert Seal.load().seal(UNREAD) == sealed


@pytest.mark.parametrize("text", ["secret", written(NEW[:31]), ",", "", written(NEW) + ",x"])
def test_what_is_no_key_is_refused_in_one_line_that_does_not_repeat_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAL_KEY", text)
    with pytest.raises(
        ConfigurationError, match=r"\ASEAL_KEY: must hold keys of 32 bytes in base64[^\n]*\Z"
    ) as refused:
        Seal.load()
    assert not text or text == "," or text not in str(refused.value)


def test_a_file_that_is_not_there_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAL_KEY_FILE", "nowhere")
    with pytest.raises(ConfigurationError, match="SEAL_KEY_FILE: cannot be read"):
        Seal.load()
