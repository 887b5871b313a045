"""Rights: what a role may do, and who acts.

HR decides whose punches are whose, and what time they were made. IT looks after devices. Both mend what failed: HR what
a person has to decide, IT all of it. A viewer changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from attendance.records.console_user import Role
from operations.activity import Via


class Right(Enum):
    """Something that not everybody may do."""

    PEOPLE = "map numbers to employees, and ignore visitors"
    LETTERS = "replay and discard what failed"
    CORRECTIONS = "correct what is in ERPNext, and give a punch its right time"
    IMPORTS = "bring punches in by file"
    DEVICES = "approve, change, pause and ask devices"
    ACCOUNTS = "say who may use the console, and see what they did"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    "viewer": frozenset(),
    "hr": frozenset((Right.PEOPLE, Right.LETTERS, Right.CORRECTIONS, Right.IMPORTS)),
    "it": frozenset((Right.DEVICES, Right.LETTERS, Right.IMPORTS)),
    "administrator": frozenset(Right),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks for a page or an action.

    Attributes:
        name: Of the account, or of the token.
        role: What they may do.
        sites: The sites that they see; None for every one.
        via: By which way they came.
    """

    name: str
    role: Role
    sites: frozenset[str] | None = None
    via: Via = "console"

    def may(self, right: Right) -> bool:
        """Whether they have a right."""
        return right in RIGHTS[self.role]

    def sees(self, site: str | None) -> bool:
        """Whether they see what is of a site. What is of none is for those who see every site.

        Args:
            site: Its name; None where nobody knows it.
        """
        return self.sites is None or site in self.sites
