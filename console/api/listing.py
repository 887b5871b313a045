"""What every list of the API is asked with."""

from datetime import date
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MOST: Final = 500
"""Rows of one answer."""

Name = Annotated[str | None, Field(min_length=1, max_length=200)]
Day = Annotated[date | None, Field(description="Such as `2026-03-02`.")]
Most = Annotated[int, Field(ge=1, le=MOST, description="So many rows at most.")]
After = Annotated[
    str | None, Field(max_length=1_000, description="The `next` of the answer before; without it the list begins.")
]


class Asked(BaseModel):
    """What a list is asked with. A word that it does not know is refused: it would narrow nothing."""

    model_config = ConfigDict(extra="forbid")
