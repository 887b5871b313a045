"""Whether a query can only read. A refusal costs a person a moment, so whatever is not plainly a question is refused.

This is no wall. Databases have functions and hints that it knows nothing of, and some of them run a query that stands
in a string, read files or lock tables. The wall is a login that may only read; a read-only transaction, where the
database has one, is another.
"""

import re
from typing import Final

from sqlalchemy import text

MAX_LENGTH: Final = 20_000
"""Characters of a query."""

# A backslash, a dollar sign and a comment may hide where a string ends, each in one of the databases; T-SQL needs no
# semicolon to begin another statement, so each word that may begin one that changes something is refused anywhere. A
# function whose name stands in quotes would not be seen among the words.
_TOKEN: Final = re.compile(
    r"""\s+
    | '(?:[^'\\\x00]|'')*'
    | "[^"\\\x00]+"(?!\s*\() | \[[\w ]+\](?!\s*\()
    | (?P<bind>(?<!:):[a-zA-Z]\w*)
    | ::
    | (?P<word>[a-zA-Z_]\w*)
    | \d+(?:\.\d+)?
    | -(?!-) | /(?!\*) | \*(?!/)
    | [(),.=<>!+%|]
    """,
    re.VERBOSE | re.ASCII,
)
_WRITING: Final = """
add alter analyze attach backup begin bulk call checkpoint close cluster comment commit conversation copy create
dbcc deallocate declare delete deny detach disable discard do drop enable exec execute for get goto grant handler if
insert into kill listen load load_extension lock merge move nextval notify open opendatasource openquery openrowset
openxml pragma prepare print raiserror readtext receive reconfigure refresh reindex release rename restore return
revert revoke rollback save savepoint security send set set_config setuser setval shutdown start throw truncate
unlisten unlock update updatetext use vacuum waitfor while writefile writetext
"""
# Functions that reach files, other servers or the database's own settings.
_WRITING_PREFIXES: Final = ("dblink", "lo_", "pg_", "sp_", "xp_")


def check(query: str, binds: frozenset[str], required: frozenset[str]) -> None:
    """Accept a single SELECT, which may begin by WITH, that uses these named binds alone.

    Args:
        query: In the database's own words, a bind written as `:name`.
        binds: The names that it may use.
        required: Those that it has to use.

    Raises:
        ValueError: it may be something else. The message says what stands in the way, in one line.
    """
    if len(query) > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH} characters")
    words, used = _read(query)
    writing = _WRITING.split()
    if not words or words[0] not in {"select", "with"}:
        raise ValueError("it must begin by SELECT or WITH")
    for word in words:
        if word in writing or word.startswith(_WRITING_PREFIXES):
            raise ValueError(f"{word.upper()} may change something (as the name of a column, put it into quotes)")
    if unknown := used - binds:
        raise ValueError(f":{min(unknown)} is none of its binds: {', '.join(sorted(binds))}")
    if missing := required - used:
        raise ValueError(f"it must use :{min(missing)}")
    # SQLAlchemy looks for binds in strings as well.
    if text(query)._bindparams.keys() != used:  # noqa: SLF001 - there is no other way to ask
        raise ValueError("a string in it looks like a bind")


def _read(query: str) -> tuple[list[str], set[str]]:
    """The words outside strings and quoted names, in lower case, and the names of the binds."""
    words: list[str] = []
    binds: set[str] = set()
    position = 0
    while position < len(query):
        token = _TOKEN.match(query, position)
        if token is None:
            raise ValueError(f"{query[position]!r} at character {position + 1} may not stand there")
        if word := token["word"]:
            words.append(word.lower())
        elif bind := token["bind"]:
            binds.add(bind[1:])
        position = token.end()
    return words, binds
