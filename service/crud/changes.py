"""Statements on the log of changes, which triggers write."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, CursorResult, any_, literal, not_, or_, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from service.feed import NOTHING, Snapshot
from service.models import Item, ItemChange

# Which feed this is. Transaction numbers mean nothing in another cluster, nor in another history of this one (WAL's
# timeline); and a log that was restored from a dump is another table.
_FEED = """
    concat_ws('.', (pg_control_system()).system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
              (SELECT oid FROM pg_database WHERE datname = current_database()), 'item_change'::regclass::oid)
"""
_START = text(f"SELECT snapshot FROM item_change_mark WHERE is_expired AND feed = {_FEED} ORDER BY id DESC LIMIT 1")  # noqa: S608  # our own constant
_DELETE = text("""
    DELETE FROM item_change
    WHERE (xid < :following AND xid <> ALL(:running)) OR xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
""")


def find_feed_end(session: Session) -> tuple[str, Snapshot]:
    """Which feed this is, and all that is committed now."""
    feed, snapshot = session.execute(text(f"SELECT {_FEED}, pg_current_snapshot()::text")).one()
    return feed, Snapshot.parse(snapshot)


def find_feed_start(session: Session) -> Snapshot:
    """All that has expired."""
    snapshot = session.execute(_START).scalar_one_or_none()
    return NOTHING if snapshot is None else Snapshot.parse(snapshot)


def list_changes(
    session: Session, *, seen: Snapshot, until: Snapshot, after: int, limit: int
) -> Sequence[tuple[ItemChange, Item | None]]:
    """The first `limit` changes after number `after` that `until` shows and `seen` does not; each with its item now.

    Two indexes lead to them. The beginning is found by the transactions, of which most often few are new; from there on
    the numbers lead, and nothing before `after` is looked at again. PostgreSQL, which guesses how many there are, is
    left no choice: it has no index of `xid + 0`.
    """
    xid = col(ItemChange.xid) + 0 if after else col(ItemChange.xid)
    page = (
        select(ItemChange)
        .where(or_(xid >= seen.following, xid == _any(seen.running)))
        .where(xid < until.following, not_(xid == _any(until.running)))
        .where(col(ItemChange.seq) > after)
        .order_by(col(ItemChange.seq))
        .limit(limit)
        .subquery()
    )
    change = aliased(ItemChange, page)
    statement = select(change, Item).join(Item, col(Item.id) == col(change.item_id), isouter=True)
    return session.exec(statement.order_by(col(change.seq))).all()


def _any(numbers: Sequence[int]) -> ColumnElement[bool]:
    return any_(literal(list(numbers), ARRAY(BigInteger)))


def add_mark(session: Session) -> None:
    """Note what is committed now. When a transaction committed, PostgreSQL does not keep."""
    session.execute(text(f"INSERT INTO item_change_mark (feed) SELECT {_FEED}"))  # our own constant


def expire_mark(session: Session, *, days: int) -> Snapshot | None:
    """Say that all has expired that the newest mark older than `days` shows; its snapshot, or None for nothing new."""
    statement = f"""
        UPDATE item_change_mark SET is_expired = true
        WHERE NOT is_expired AND id = (
            SELECT max(id) FROM item_change_mark
            WHERE feed = {_FEED} AND taken_at < statement_timestamp() - make_interval(days => :days)
        )
        RETURNING snapshot
    """  # noqa: S608  # our own constant
    snapshot = session.execute(text(statement), {"days": days}).scalar_one_or_none()
    return None if snapshot is None else Snapshot.parse(snapshot)


def delete_changes(session: Session, *, shown_by: Snapshot) -> int:
    """Remove the changes that the snapshot shows, and those of no transaction of this cluster; how many they were."""
    # A bulk delete is bounded by what there is, not by what a request may take.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    deleted = session.execute(_DELETE, {"following": shown_by.following, "running": list(shown_by.running)})
    return cast("CursorResult[Any]", deleted).rowcount
