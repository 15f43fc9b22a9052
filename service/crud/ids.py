"""The sequence that gives items their ids, where ids were given by others too: by imports, by psql, by an ETL job."""

from sqlalchemy import text
from sqlmodel import Session

# Beyond, an id does not move the sequence: one import of the largest would leave no id for items to come.
MAX_SEQUENCE_ID = 2**62
# So many ids may be taken one by one: nobody else takes as many between our look at the sequence and our leap.
MAX_ID_GAP = 1000
# Imports move the sequence one after the other. Any number that nobody else uses in this database.
SEQUENCE_LOCK_KEY = 7_274_502_312


def find_highest_taken_id(session: Session) -> int:
    """The highest id of an item that is within reach of the sequence; 0 if no item has one."""
    highest: int = session.execute(
        text("SELECT coalesce(max(id), 0) FROM item WHERE id <= :limit"), {"limit": MAX_SEQUENCE_ID}
    ).scalar_one()
    return highest


def pass_over_ids(session: Session, highest: int) -> None:
    """Let no item to come get an id up to `highest`. It holds at once, whatever becomes of the transaction.

    The sequence never goes back: a short way it goes id by id, beside others who take ids at the same time.
    """
    session.execute(text(f"SELECT pg_advisory_xact_lock({SEQUENCE_LOCK_KEY})"))
    session.execute(
        text(
            "SELECT CASE WHEN gap > :leap THEN setval(ids, :highest)"
            " ELSE (SELECT max(taken) FROM (SELECT nextval(ids) AS taken FROM generate_series(1, gap)) AS way) END"
            " FROM (SELECT pg_get_serial_sequence('item', 'id')::regclass AS ids) AS sequence,"
            " LATERAL (SELECT :highest - coalesce(pg_sequence_last_value(ids), 0) AS gap) AS distance"
        ),
        {"highest": highest, "leap": MAX_ID_GAP},
    )
