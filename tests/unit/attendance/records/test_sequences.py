"""What was counted of record numbers, as it stands on its topic."""

import pytest

from attendance.errors import InvalidRecord
from attendance.records.sequences import FIRST_SECOND, LAST_SECOND, Counted, Run, Sequences


@pytest.mark.parametrize("second", [FIRST_SECOND, -10_800, LAST_SECOND])
def test_what_a_clock_that_was_reset_dated_is_read_again(second: int) -> None:
    sequences = Sequences(3, 79, {"D1": Counted(0, (Run(1, 2, second, second),))})
    assert Sequences.decode(sequences.key, sequences.encode()) == sequences


@pytest.mark.parametrize("offset", [-1, 2**63])
def test_an_offset_that_kafka_cannot_have_is_refused(offset: int) -> None:
    with pytest.raises(InvalidRecord, match="offset"):
        Sequences.decode(b"3", Sequences(3, offset, {}).encode())
