"""Which queries are taken for questions."""

import sqlite3
from contextlib import closing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.devices.common.sql.read_only import MAX_LENGTH, check

BINDS = frozenset({"cursor", "since"})


def accept(query: str) -> None:
    check(query, BINDS, frozenset())


@pytest.mark.parametrize(
    "query",
    [
        'SELECT id AS sequence, badge AS "user" FROM punches WHERE id > :cursor AND at >= :since ORDER BY id',
        "select top 500 [User Id], LogDate from dbo.[Device Logs] where DeviceLogId > :cursor",
        "WITH p AS (SELECT * FROM punches WHERE id > :cursor) SELECT * FROM p",
        "SELECT 'it''s; -- no comment /* here */ DELETE' FROM punches WHERE id > :cursor",
        "SELECT at::text, a || b, n % 2, -1, 2 * 3, 4 / 2 FROM punches WHERE id > :cursor AND a <> b AND c != d",
        "SELECT CASE way WHEN 1 THEN 'in' ELSE 'out' END, \"update\" FROM punches WHERE id > :cursor AND t > '08:00'",
        "SELECT replace(badge, ' ', ''), N'x' FROM punches WHERE id > :cursor\n OFFSET 0 ROWS FETCH NEXT 5 ROWS ONLY",
    ],
)
def test_a_question_is_accepted(query: str) -> None:
    check(query, BINDS, frozenset({"cursor"}))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "DELETE FROM punches",
        "EXPLAIN SELECT 1",
        "SELECT 1; DELETE FROM punches",
        "SELECT 1;",
        "SELECT 1 DELETE FROM punches",
        "SELECT 1\nDrOp TABLE punches",
        "WITH gone AS (DELETE FROM punches RETURNING id) SELECT id FROM gone",
        "SELECT * INTO copies FROM punches",
        "SELECT * FROM punches FOR UPDATE",
        "SELECT * FROM punches FOR SHARE",
        "SELECT 1 -- DELETE",
        "SELECT 1 /* DELETE */",
        "SELECT 1 # DELETE",
        "SELECT 'a\\'; DELETE FROM punches; --'",
        "SELECT $$a$$",
        "SELECT 'a",
        'SELECT "a',
        "SELECT [a;b]",
        "SELECT `a`",
        "SELECT @x",
        "SELECT 1 EXEC xp_cmdshell 'x'",
        "SELECT xp_cmdshell",
        "SELECT pg_terminate_backend(1)",
        'SELECT "pg_terminate_backend"(1)',
        'SELECT "pg_terminate_backend" (1)',
        "SELECT [dblink] (1)",
        "SELECT set_config('a', 'b', false)",
        "SELECT nextval('s')",
        "SELECT NEXT VALUE FOR s",
        "SELECT * FROM OPENROWSET('a', 'b', 'c')",
        "SELECT load_extension('x')",
        "SELECT 'x' WHERE id > :other",
        "SELECT ' :cursor'",
        "SELECT 1\x00",
        "SELECT 'a\x00'",
        "SELECT \uff24\uff25\uff2c\uff25\uff34\uff25",
        "ATTACH 'x' AS y",
        "SELECT 1" + " " * MAX_LENGTH,
    ],
)
def test_whatever_is_not_plainly_a_question_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        accept(query)


def test_a_bind_that_is_needed_has_to_be_there() -> None:
    with pytest.raises(ValueError, match="must use :cursor"):
        check("SELECT 1", BINDS, frozenset({"cursor"}))


WORDS = (
    "SELECT WITH INSERT UPDATE DELETE REPLACE DROP CREATE ALTER ATTACH PRAGMA VACUUM INTO FROM punches TABLE VALUES"
    " SET id x AS ( ) , ; -- /* */ ' '' \" [ ] ` 1 * = :cursor BEGIN COMMIT RETURNING WHERE 'a' \"id\" UNION temp"
)
PIECES = st.sampled_from(WORDS.split())


@given(st.lists(PIECES, max_size=12).map(" ".join) | st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_what_is_accepted_changes_nothing_even_where_it_could(query: str) -> None:
    try:
        accept(query)
    except ValueError:
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE punches (id INTEGER, x TEXT)")
        connection.execute("INSERT INTO punches VALUES (1, 'a')")
        connection.commit()
        before = list(connection.iterdump()), connection.total_changes
        with suppress(sqlite3.Error):
            connection.execute(query, {"cursor": 0, "since": ""}).fetchall()
        assert (list(connection.iterdump()), connection.total_changes) == before


@given(prefix=st.lists(PIECES, max_size=5), suffix=st.lists(PIECES, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_writing_word_is_refused_wherever_it_stands(prefix: list[str], suffix: list[str]) -> None:
    # Before an odd quotation mark the word would stand in a string.
    quiet = [piece for piece in prefix if not set(piece) & set("'\"[")]
    with pytest.raises(ValueError, match=r"\w"):
        accept(" ".join(["SELECT", *quiet, "DELETE", *suffix]))
