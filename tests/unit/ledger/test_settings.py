"""The settings of the ledger: what cannot work is refused at the start."""

from datetime import time

import pytest

from attendance.errors import ConfigurationError
from ledger.settings import LedgerSettings


def test_no_day_is_reconciled_unless_a_time_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LedgerSettings.load().reconcile_at is None
    monkeypatch.setenv("LEDGER_RECONCILE_AT", "03:30")
    assert LedgerSettings.load().reconcile_at == time(3, 30)


@pytest.mark.parametrize(
    ("at", "days", "why"),
    [
        ("03:00Z", "100", "without a zone"),
        ("three", "100", "LEDGER_RECONCILE_AT"),
        ("03:00", "2", "LEDGER_DAYS has to be 3 or more"),
    ],
)
def test_a_time_that_cannot_work_ends_the_start(monkeypatch: pytest.MonkeyPatch, at: str, days: str, why: str) -> None:
    monkeypatch.setenv("LEDGER_RECONCILE_AT", at)
    monkeypatch.setenv("LEDGER_DAYS", days)
    with pytest.raises(ConfigurationError, match=why):
        LedgerSettings.load()
