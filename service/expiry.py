"""What becomes too old to be kept: stored answers, and changes in the feed."""

from sqlmodel import Session

from service import crud
from service.unit_of_work import committing

# So many rows are removed in one transaction, well within a statement's time.
EXPIRY_BATCH = 1000


def expire_answers(session: Session) -> int:
    """Remove every stored answer that has expired, and commit; how many there were."""
    removed, batch = 0, EXPIRY_BATCH
    while batch == EXPIRY_BATCH:
        with committing(session):
            batch = crud.delete_expired_answers(session, limit=EXPIRY_BATCH)
        removed += batch
    return removed


def expire_changes(session: Session, *, days: int) -> int:
    """Drop the changes that were committed more than `days` ago, and commit; how many they were.

    Age is measured from run to run: what was committed since the last one is as old as this one.
    """
    with committing(session):
        crud.add_mark(session)
        expired = crud.expire_mark(session, days=days)
        return 0 if expired is None else crud.delete_changes(session, shown_by=expired)
