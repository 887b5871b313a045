"""Groups: which role somebody has who has no account, by the groups that a proxy or a provider says they are in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from attendance.records.console_user import Role

_ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody, as a proxy or a provider knows them.

    Attributes:
        name: As which they are signed in here.
        groups: In which they are there.
    """

    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do who has no account.

    Attributes:
        role: Theirs.
        sites: Those that they see; None for every one.
    """

    role: Role
    sites: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class GroupRole:
    """What a group gives to whoever is in it."""

    group: str
    grant: Grant


def group_roles(text: str) -> tuple[GroupRole, ...]:
    """What the setting of groups says.

    Args:
        text: `GROUP=ROLE` or `GROUP=ROLE:SITE|SITE`, several with `;` between them. A group may have `=` in its name.

    Raises:
        ValueError: it says something else.
    """
    return tuple(_group_role(each) for each in text.split(";") if each.strip())


def granted(roles: Sequence[GroupRole], groups: Iterable[str]) -> Grant | None:
    """What somebody may do by their groups; None where no group gives them anything.

    The first group of the setting that they are in decides the role. They see the sites of each group of theirs that
    gives this role.

    Args:
        roles: What each group gives, in the order of the setting.
        groups: Those that they are in.
    """
    theirs = frozenset(groups)
    grants = [each.grant for each in roles if each.group in theirs]
    if not grants:
        return None
    role = grants[0].role
    sites: list[str] = []
    for grant in grants:
        if grant.role != role:
            continue
        if grant.sites is None:
            return Grant(role)
        sites += grant.sites
    return Grant(role, tuple(dict.fromkeys(sites)))


def _group_role(text: str) -> GroupRole:
    group, _, given = text.rpartition("=")
    name, _, of_sites = given.partition(":")
    sites = tuple(site for each in of_sites.split("|") if (site := each.strip()))
    role = next((each for each in _ROLES if each == name.strip()), None)
    if not group.strip() or role is None or (":" in given and not sites):
        raise ValueError(f"{text.strip()!r}: GROUP=ROLE or GROUP=ROLE:SITE|SITE; a role is {', '.join(_ROLES)}")
    if role == "administrator" and sites:
        raise ValueError(f"{text.strip()!r}: an administrator sees every site")
    return GroupRole(group.strip(), Grant(role, sites or None))
