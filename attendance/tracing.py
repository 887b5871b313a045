"""Tracing: spans of what becomes of punches, from a request to the target's answer. Off unless `TRACING_URL` is set.

The context goes with each record in the header `traceparent` of W3C Trace Context. A record without it is not traced:
so whoever takes the punch in decides for all stages, and the others pay for what is traced alone. Spans name topics,
partitions and offsets, and nobody.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from attendance.errors import ConfigurationError
from attendance.kafka.records import OutRecord, Record
from attendance.settings import SettingsGroup

EXTRA: Final = "punchstream[tracing]"


class TracingSettings(SettingsGroup):
    """Tracing: spans of what becomes of punches."""

    model_config = SettingsConfigDict(env_prefix="TRACING_")

    url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Where spans go: OTLP over HTTP, such as `http://collector:4318/v1/traces`. If unset, nothing is "
        "traced.",
    )
    ratio: float = Field(
        0.01, ge=0, le=1, description="Share of the requests and pages that are traced, with all that they brought."
    )


class Tracing:
    """No tracing: nothing is measured, and no record is changed."""

    def taken_in(self, _name: str, /, **_attributes: str) -> AbstractContextManager[None]:
        """A root span around what takes punches in: a request, or a page of a device that is asked.

        Who sent it does not count: a terminal's own `traceparent` is not read, for anybody could send one.

        Args:
            _name: What is done, the same for all of its kind.
            _attributes: Of what kind it is.
        """
        return nullcontext()

    def published(self, records: Sequence[OutRecord], /) -> AbstractContextManager[Sequence[OutRecord]]:
        """A span around the publishing of what was taken in.

        Args:
            records: What is to be published.

        Returns:
            Inside it, the same, with the context where this is traced.
        """
        return nullcontext(records)

    def carried(
        self, _name: str, pairs: Iterable[tuple[Record, OutRecord]], /
    ) -> AbstractContextManager[Sequence[OutRecord]]:
        """A span for each record that is traced, from its own time until its outcome is durable.

        Args:
            _name: What was done, such as `decide`.
            pairs: Each consumed record, with its outcome.

        Returns:
            Inside it, the outcomes, with the context where their records are traced. Make them durable inside.
        """
        return nullcontext([outcome for _, outcome in pairs])

    def asked(self, _name: str, _records: Iterable[Record], /) -> AbstractContextManager[None]:
        """A span for each record that is traced, around one request that is made for all of them.

        Args:
            _name: Whom is asked, such as `erpnext`.
            _records: Those that the request is for.
        """
        return nullcontext()


OFF: Final = Tracing()


def open_tracing(stage: str) -> Tracing:
    """The tracing of a stage's process, by the settings. What is left at the end of the process is sent then.

    A collector that does not answer holds nothing up: what it does not take is dropped.

    Args:
        stage: Names the service, `punchstream-STAGE`.

    Raises:
        ConfigurationError: a setting is wrong, or the extra is not installed.
    """
    settings = TracingSettings.load()
    if settings.url is None:
        return OFF
    try:
        from attendance.open_telemetry import OpenTelemetry
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"TRACING_URL: {error.name} is not installed; it comes with the extra {EXTRA}"
        ) from error
    return OpenTelemetry.to(settings.url, settings.ratio, stage)
