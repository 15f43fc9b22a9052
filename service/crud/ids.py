"""The sequence that gives items their ids, where ids were given by others too: by imports, by psql, by an ETL job."""

from sqlalchemy import text
from sqlmodel import Session

# Beyond, an id does not move the sequence: one import of the largest would leave no id for items to come.
MAX_SEQUENCE_ID = 2**62
# So many ids may be taken one by one: nobody else takes as many between our look at the sequence and our leap.
MAX_ID_GAP = 1000
# Looked through in some 0.1 s.
MAX_ID_RUN = 100_000
# Imports move the sequence one after the other. Any number that nobody else uses in this database.
SEQUENCE_LOCK_KEY = 7_274_502_312


def find_end_of_taken_ids(session: Session) -> int:
    """The last of the ids in a row that items have, from the sequence's own on; of a long row, MAX_ID_RUN ids of it.

    Not the highest id of all: one that somebody has chosen far above must not lift all ids to come.
    """
    last: int = session.execute(
        text(
            "SELECT coalesce("
            "(SELECT item.id FROM item WHERE item.id BETWEEN here AND here + :run"
            " AND NOT EXISTS (SELECT FROM item AS next WHERE next.id = item.id + 1) ORDER BY item.id LIMIT 1),"
            " CASE WHEN EXISTS (SELECT FROM item WHERE item.id = here + :run) THEN here + :run ELSE here END)"
            " FROM coalesce(pg_sequence_last_value(pg_get_serial_sequence('item', 'id')::regclass), 0) AS here"
        ),
        {"run": MAX_ID_RUN},
    ).scalar_one()
    return last


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
