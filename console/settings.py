"""The settings of the console."""

from datetime import timedelta
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from attendance.durations import Seconds
from attendance.errors import ConfigurationError
from attendance.settings import SettingsGroup
from attendance.times import zone

DEFAULT_PORT: Final = 8180


class ConsoleSettings(SettingsGroup):
    """Console: pages for HR and IT, in a browser."""

    model_config = SettingsConfigDict(env_prefix="CONSOLE_")

    host: str = Field("127.0.0.1", description="The address to listen on. `0.0.0.0` is every one.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="The port to listen on. 0 is any free one.")
    url: str | None = Field(
        None,
        description="The address in the browser's bar, such as `https://punches.example.com`. With `https`, cookies are"
        " sent over TLS only. If it is not set, the console is for browsers on its own machine.",
    )
    language: str = Field("en", description="The language for whoever asks for none that is there, such as `ar`.")
    zone: str = Field("UTC", description="The IANA zone of times that belong to no site, such as `Asia/Riyadh`.")
    session_idle: Seconds = Field(1800, ge=60, le=86400, description="So long unused a session ends.")
    session_max: Seconds = Field(
        43200, ge=60, le=604800, description="So long after signing in a session ends, however it is used."
    )
    late_after: Seconds = Field(
        900, ge=60, le=86400, description="A device that was not heard for so long is shown as late."
    )
    silent_after: Seconds = Field(
        3600, ge=60, le=604800, description="A device that was not heard for so long is shown as silent."
    )

    @field_validator("zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            zone(name)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return name

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("an address such as https://punches.example.com, without a path")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _is_late_before_it_is_silent(self) -> Self:
        if self.late_after >= self.silent_after:
            raise ValueError("CONSOLE_LATE_AFTER: must be less than CONSOLE_SILENT_AFTER")
        return self

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the console over TLS."""
        return self.url is not None and self.url.startswith("https://")

    @property
    def idle(self) -> timedelta:
        """`session_idle`."""
        return timedelta(seconds=self.session_idle)

    @property
    def longest(self) -> timedelta:
        """`session_max`."""
        return timedelta(seconds=self.session_max)
