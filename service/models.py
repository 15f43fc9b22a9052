"""The tables. Their rules live in the database, under names; table classes do not validate (`schemas` does)."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    FetchedValue,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlmodel import Field, SQLModel

from service.config import (
    MAX_ANSWER_BYTES,
    MAX_DESCRIPTION_LENGTH,
    MAX_KEY_LENGTH,
    MAX_NAME_LENGTH,
    MAX_PRICE,
)

# Of the statement, not of the transaction: two changes in one transaction differ, two columns of one row do not.
NOW = text("statement_timestamp()")
# In them every clock shows a year of four digits, as RFC 3339 has it, whatever its time zone.
TIMES = "'0001-01-02 00:00:00+00' AND '9999-12-30 00:00:00+00'"
# As PostgreSQL prints it, so that Alembic finds no difference.
SEARCH_WORDS = "to_tsvector('simple'::regconfig, ((name || ' '::text) || COALESCE(description, ''::text)))"


class Item(SQLModel, table=True):
    """One thing in the catalogue. A trigger sets `updated_at` and adds 1 to `version` on every UPDATE."""

    __tablename__ = "item"
    __table_args__ = (
        CheckConstraint(f"char_length(name) BETWEEN 1 AND {MAX_NAME_LENGTH}", name="item_name_length"),
        CheckConstraint(f"char_length(description) <= {MAX_DESCRIPTION_LENGTH}", name="item_description_length"),
        CheckConstraint(f"price BETWEEN 0 AND {MAX_PRICE}", name="item_price_range"),
        CheckConstraint("version >= 1", name="item_version_positive"),
        CheckConstraint("id >= 1", name="item_id_positive"),
        CheckConstraint(f"created_at BETWEEN {TIMES}", name="item_created_at_range"),
        CheckConstraint(f"updated_at BETWEEN {TIMES}", name="item_updated_at_range"),
        # One index for each sort that the list offers; the id breaks ties (and serves its own sort as primary key).
        Index("item_name_id", "name", "id"),
        Index("item_price_id", "price", "id"),
        Index("item_created_at_id", "created_at", "id"),
        Index("item_updated_at_id", "updated_at", "id"),
        # In the table, not in the class: a search compares it, and no row that is read needs to carry it along.
        Column("search", TSVECTOR, Computed(SEARCH_WORDS, persisted=True)),
        Index("item_search", "search", postgresql_using="gin"),
    )
    __mapper_args__: ClassVar[dict[str, Any]] = {"exclude_properties": ["search"]}

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=False), primary_key=True))
    # Collation "C" sorts by code point: the same order, and so the same pages, on every server.
    name: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    description: str | None = Field(default=None, sa_column=Column(Text))
    price: Decimal = Field(sa_column=Column(Numeric(12, 2), nullable=False))
    created_at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW)
    )
    updated_at: datetime | None = Field(
        default=None,
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW, server_onupdate=FetchedValue()),
    )
    version: int | None = Field(
        default=None,
        sa_column=Column(BigInteger, nullable=False, server_default=text("1"), server_onupdate=FetchedValue()),
    )


class CacheEpoch(SQLModel, table=True):
    """The cache's epoch is the sum of `n`; `cache_epoch_bump()` adds 1 to it in a row that nobody else holds."""

    __tablename__ = "cache_epoch"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    n: int = Field(sa_column=Column(BigInteger, nullable=False))


class StoredAnswer(SQLModel, table=True):
    """What the first request with an Idempotency-Key was answered; `fingerprint` tells that request from others."""

    __tablename__ = "stored_answer"
    __table_args__ = (
        CheckConstraint(f"octet_length(key) BETWEEN 1 AND {MAX_KEY_LENGTH}", name="stored_answer_key_length"),
        CheckConstraint("octet_length(fingerprint) = 32", name="stored_answer_fingerprint_length"),
        CheckConstraint("status BETWEEN 200 AND 499", name="stored_answer_status_range"),
        CheckConstraint(f"octet_length(body) <= {MAX_ANSWER_BYTES}", name="stored_answer_body_length"),
        # The oldest are removed first.
        Index("stored_answer_created_at", "created_at"),
    )

    key: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    status: int = Field(sa_column=Column(BigInteger, nullable=False))
    # Names and values in the order in which they were sent; a name may come twice.
    headers: list[list[str]] = Field(sa_column=Column(JSONB, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW)
    )


class ItemChange(SQLModel, table=True):
    """The log of changes to items, written by triggers.

    `seq` orders the changes of each item; `xid` is the transaction, by which a reader tells what it has not seen yet.
    """

    __tablename__ = "item_change"
    __table_args__ = (Index("item_change_xid", "xid"),)

    seq: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    # A number, for SQLAlchemy does not know xid8.
    xid: int = Field(
        sa_column=Column(BigInteger, nullable=False, server_default=text("pg_current_xact_id()::text::bigint"))
    )
    item_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    deleted: bool = Field(sa_column=Column(Boolean, nullable=False))


class ItemChangeMark(SQLModel, table=True):
    """What was committed at a time. By the marks old changes are dropped; one that `is_expired` tells which were."""

    __tablename__ = "item_change_mark"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    # Whose transactions it shows: a dump takes marks to where other ones have their numbers.
    feed: str = Field(sa_column=Column(Text, nullable=False))
    taken_at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True), nullable=False, server_default=NOW)
    )
    snapshot: str | None = Field(
        default=None, sa_column=Column(Text, nullable=False, server_default=text("pg_current_snapshot()::text"))
    )
    is_expired: bool | None = Field(
        default=None, sa_column=Column(Boolean, nullable=False, server_default=text("false"))
    )
