"""Statements to which a transaction that is undone would answer with a half-truth."""

import pytest

from service.testing.errors import IsolationError
from service.testing.watch import Isolation, Watch


@pytest.fixture
def watch() -> Watch:
    return Watch("test_it", Isolation.ROLLBACK, is_declared=False)


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN",
        "START TRANSACTION",
        "END",
        "COMMIT",
        "ABORT",
        "ROLLBACK",
        "PREPARE TRANSACTION 'one'",
        "SELECT 1; COMMIT",
        "SELECT 1; ABORT",
        "SELECT 1; ROLLBACK",
        "SELECT 1; PREPARE TRANSACTION 'one'",
        r"SELECT '\'; ROLLBACK; SELECT ''",
        r"SELECT E'\''; ROLLBACK; SELECT ''",
        """SELECT 1 AS "it's"; ROLLBACK; SELECT ''""",
    ],
)
def test_no_statement_begins_or_ends_a_transaction(watch: Watch, statement: str) -> None:
    for written in (statement, f" {statement.lower()}"):
        with pytest.raises(IsolationError, match="a transaction cannot be begun or ended by a statement"):
            watch.check_statement(written)


@pytest.mark.parametrize(
    "statement",
    [
        "SAVEPOINT one",
        "RELEASE SAVEPOINT one",
        "ROLLBACK TO SAVEPOINT one",
        "PREPARE one AS SELECT 1",
        "SELECT 1 AS beginning",
        "SELECT '; ROLLBACK'",
        r"SELECT E'it\'s; ROLLBACK'",
        r"SELECT e'\\', '; ROLLBACK'",
        """SELECT 1 AS "; ROLLBACK" """,
        """SELECT 1 AS "a""; ROLLBACK" """,
        "SELECT $a$; ROLLBACK $$; ROLLBACK $a$",
        "SELECT 1 /* it's */, '; ROLLBACK'",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT pg_notify('a', 'b') $$",
    ],
)
def test_other_statements_are_sent(watch: Watch, statement: str) -> None:
    watch.check_statement(statement)

    assert watch.violations == []


@pytest.mark.parametrize(
    "clock",
    [
        "now()",
        "transaction_timestamp()",
        "current_timestamp",
        "localtimestamp",
        "localtime",
        "current_date",
        "current_time",
    ],
)
def test_a_clock_that_stands_still_is_read_in_one_transaction_only(watch: Watch, clock: str) -> None:
    watch.count_transaction()
    for _ in range(2):
        watch.check_statement(f"SELECT {clock}")
    watch.count_transaction()

    with pytest.raises(IsolationError, match=r"now\(\) is frozen"):
        watch.check_statement(f"SELECT {clock}")
