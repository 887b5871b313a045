"""What was published lately of a device is remembered in bounded memory."""

from producers.pull.recent import Recent


def test_no_more_is_remembered_than_was_asked_for_and_what_keeps_coming_is_not_forgotten() -> None:
    recent = Recent(3)
    recent.add([b"garbage"])
    for number in range(10):
        assert recent.seen(b"garbage")
        recent.add([b"%d" % number])
    assert not recent.seen(b"7")
    assert recent.seen(b"8")
