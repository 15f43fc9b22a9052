"""Statements on the cache's epoch."""

from sqlalchemy import text
from sqlmodel import Session


def bump_cache_epoch(session: Session) -> str:
    """Move the cache's epoch, with the transaction's COMMIT; returns when this PostgreSQL server started."""
    started: str
    _, started = session.execute(text("SELECT cache_epoch_bump(), pg_postmaster_start_time()::text")).one()
    return started


def find_server_start(session: Session) -> str:
    """When this PostgreSQL server started."""
    started: str = session.execute(text("SELECT pg_postmaster_start_time()::text")).scalar_one()
    return started
