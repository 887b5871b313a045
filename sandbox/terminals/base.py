"""What a simulated terminal is: it speaks one protocol in its real wire form, with the real quirks.

It shares no code with the adapters. What it calls `Punch` is what a terminal has in memory, and what must come out at
the other end.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

PHOTO = b"\xff\xd8\xff\xe0" + b"no photograph may leave the way in " * 40 + b"\xff\xd9"
NAME = "Zoë Müller-Østergård"


@dataclass(frozen=True, slots=True)
class Punch:
    """One punch in a terminal's memory.

    `at` is naive: the terminal's own wall clock, whole seconds. `direction` is what the terminal knows of it, empty
    where it knows nothing. `number` is its record number, where the protocol has one. `name` and `photo` are of those
    who punch; no adapter keeps them.
    """

    user: str
    at: datetime
    direction: Literal["IN", "OUT", ""] = ""
    number: int | None = None
    name: str = NAME
    photo: bytes | None = None


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a terminal's wire form departs from the document.

    `garbage_at` puts a line or record that cannot be read before the punch of that index.
    """

    line_end: str = "\r\n"
    final_line_end: bool = True
    garbage_at: int | None = None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request of a terminal. `path` has the query in it."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the terminal is answered. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PushTerminal(Protocol):
    """A terminal that sends. It keeps nothing: whoever drives it decides what it sends again.

    Its constructor takes `serial` (the vendor's serial number), `token` (what the server wants to hear) and `zone` (the
    IANA zone of its wall clock).
    """

    def registry_entry(self) -> Mapping[str, Any]:
        """What the fleet file needs for it beside `device_id`, `site` and `timezone`."""

    def hello(self) -> Sequence[HttpRequest]:
        """What it sends when it is switched on, in order; empty where the protocol has nothing of the kind."""

    def upload(self, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Sequence[HttpRequest]:
        """The punches in as few requests as the protocol allows."""

    def strangers(self) -> Sequence[HttpRequest]:
        """Records that are no punches: a face that was not recognised, a door. Empty where there are none."""

    def accepts(self, answer: HttpAnswer, punches: int) -> bool:
        """Whether it takes this answer to an upload of so many punches for "stored", and forgets them."""


@dataclass(slots=True)
class Faults:
    """What a pulled device does wrong. Tests change it while the device serves.

    `unavailable` is how many of the next requests get 503 or no answer. `password_wrong` makes it refuse every
    credential. `cut_after` cuts the answer with records off after so many records, as does a device that is switched
    off. `count_off` is added to each total that it names. `grows` are punches that come into its memory while it is
    being read, one after each page. `delay` is in seconds, before each answer.
    """

    unavailable: int = 0
    password_wrong: bool = False
    cut_after: int | None = None
    count_off: int = 0
    grows: list[Punch] = field(default_factory=list)
    delay: float = 0.0


class PullTerminal(Protocol):
    """A device, or a vendor's server, that is asked. It serves on 127.0.0.1 while its context is entered.

    Its constructor takes `serial`, `zone` and `password`.
    """

    memory: list[Punch]
    faults: Faults
    logins_refused: int
    requests: int

    def registry_entry(self) -> Mapping[str, Any]:
        """What the fleet file needs for it beside `device_id`, `site`, `timezone` and `credentials`."""

    def credentials(self) -> Mapping[str, str]:
        """The names in the entry's `credentials`, with the secrets themselves."""

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Serve while entered."""


class FileWriter(Protocol):
    """Writes what a device or another vendor's software exports."""

    def registry_entry(self) -> Mapping[str, Any]:
        """What the fleet file needs for it beside `device_id`, `site` and `timezone`."""

    def write(self, directory: Path, punches: Sequence[Punch], quirks: Quirks = Quirks()) -> Path:
        """A file with these punches."""
