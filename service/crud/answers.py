"""Statements on the answers that are kept for repeats of a request with an Idempotency-Key."""

import json
from collections.abc import Sequence

from sqlalchemy import text
from sqlmodel import Session, col, select

from service.models import StoredAnswer

# Since when an answer counts.
_SINCE = "statement_timestamp() - interval '24 hours'"
# Each request that is stored takes more expired ones along than it adds.
_STORE = text(
    f"""
    WITH expired AS (
        DELETE FROM stored_answer WHERE key IN (
            SELECT key FROM stored_answer WHERE created_at <= {_SINCE} AND key <> :key
             ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO stored_answer (key, fingerprint, status, headers, body)
    VALUES (:key, :fingerprint, :status, CAST(:headers AS jsonb), :body)
    ON CONFLICT (key) DO UPDATE
       SET (fingerprint, status, headers, body, created_at)
         = (excluded.fingerprint, excluded.status, excluded.headers, excluded.body, excluded.created_at)
    """  # noqa: S608  # _SINCE is ours
)
_EXPIRE = text(
    f"""
    WITH removed AS (
        DELETE FROM stored_answer WHERE key IN (
            SELECT key FROM stored_answer WHERE created_at <= {_SINCE}
             ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING key
    )
    SELECT count(*) FROM removed
    """  # noqa: S608  # _SINCE is ours
)


def try_lock_key(session: Session, key: str) -> bool:
    """Whether no other transaction works under `key`; then none will until this one ends.

    The lock is on 64 bits of a hash, in this database: two keys that share them could only keep each other waiting.
    """
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 24))")
    is_ours: bool = session.execute(statement, {"key": key}).scalar_one()
    return is_ours


def find_answer(session: Session, key: str) -> StoredAnswer | None:
    """What is stored under `key`; None also when that has expired."""
    query = select(StoredAnswer).where(col(StoredAnswer.key) == key, col(StoredAnswer.created_at) > text(_SINCE))
    return session.exec(query).one_or_none()


def store_answer(  # noqa: PLR0913  # a row
    session: Session, *, key: str, fingerprint: bytes, status: int, headers: Sequence[tuple[str, str]], body: bytes
) -> None:
    """Store the answer, in place of one that has expired; a few more that have are removed."""
    row = {"key": key, "fingerprint": fingerprint, "status": status, "headers": json.dumps(headers), "body": body}
    session.execute(_STORE, row)


def delete_expired_answers(session: Session, *, limit: int) -> int:
    """Remove at most `limit` answers that have expired, the oldest first; how many there were."""
    removed: int = session.execute(_EXPIRE, {"limit": limit}).scalar_one()
    return removed
