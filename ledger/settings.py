"""The settings of the ledger."""

from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from attendance.durations import Days
from attendance.settings import SettingsGroup

DEFAULT_URL: Final = "sqlite:///ledger.sqlite"


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

    @property
    def database(self) -> str:
        """The URL that is set, or that of `ledger.sqlite` in the working directory."""
        return DEFAULT_URL if self.url is None else self.url.get_secret_value()
