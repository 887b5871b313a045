"""The settings of the ledger."""

from datetime import time
from typing import Final, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from attendance.durations import Days
from attendance.settings import SettingsGroup

DEFAULT_URL: Final = "sqlite:///ledger.sqlite"

FEWEST_DAYS: Final = 3
"""A ledger needs so many for yesterday to be whole in it, in every zone."""


class LedgerSettings(SettingsGroup):
    """Ledger: what the topics say, in a SQL database."""

    model_config = SettingsConfigDict(env_prefix="LEDGER_")

    url: SecretStr | None = Field(
        None,
        description="The database: `sqlite:////var/lib/punchstream/ledger.sqlite`, or"
        " `postgresql://user:password@host/database`. If it is not set,"
        " `ledger.sqlite` in the working directory.",
    )
    days: Days = Field(100, ge=1, description="What is older goes from the ledger. The topics keep it.")

    reconcile_at: time | None = Field(
        None,
        description="From this time of the day on, such as `03:00`, in the zone of each site, the day before is"
        " reconciled, once. If it is not set, no day is.",
    )

    @model_validator(mode="after")
    def _keeps_the_day(self) -> Self:
        if self.reconcile_at is not None:
            if self.reconcile_at.tzinfo is not None:
                raise ValueError("LEDGER_RECONCILE_AT: a time of the day such as 03:00, without a zone")
            if self.days < FEWEST_DAYS:
                raise ValueError(f"LEDGER_RECONCILE_AT: LEDGER_DAYS has to be {FEWEST_DAYS} or more for it")
        return self

    @property
    def database(self) -> str:
        """The URL that is set, or that of `ledger.sqlite` in the working directory."""
        return DEFAULT_URL if self.url is None else self.url.get_secret_value()
