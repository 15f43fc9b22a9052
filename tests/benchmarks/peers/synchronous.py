"""The usual sync translation of the article's design: plain generator dependencies and plain endpoints, in threads."""

import json
import os
from collections.abc import Iterator
from typing import Annotated

import redis
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine, make_url
from sqlmodel import Session, col, select

from service.models import Item
from service.schemas import ItemRead, ItemWrite

engine = create_engine(make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"))
cache = redis.Redis.from_url(os.environ["REDIS_URL"])
app = FastAPI()


def get_session() -> Iterator[Session]:
    """A session for the request."""
    with Session(engine) as session:
        yield session


def get_cache() -> Iterator[redis.Redis]:
    """The client, as the article hands it out."""
    yield cache


SessionDep = Annotated[Session, Depends(get_session)]
CacheDep = Annotated[redis.Redis, Depends(get_cache)]


@app.get("/items/")
def list_items(session: SessionDep, client: CacheDep) -> list[ItemRead]:
    """Answer from the cache, else fill it."""
    cached = client.get("peer:items")
    if isinstance(cached, bytes):
        return [ItemRead.model_validate_json(item) for item in json.loads(cached)]
    items = [ItemRead.model_validate(item) for item in session.exec(select(Item).order_by(col(Item.id)).limit(100))]
    client.set("peer:items", json.dumps([item.model_dump_json() for item in items]), ex=300)
    return items


@app.get("/items/uncached")
def list_uncached(session: SessionDep) -> list[ItemRead]:
    """Answer from the database."""
    found = session.exec(select(Item).order_by(col(Item.id)).limit(100)).all()
    return [ItemRead.model_validate(item) for item in found]


@app.post("/items/")
def create_item(values: ItemWrite, session: SessionDep, client: CacheDep) -> ItemRead:
    """Store it, and drop the list from the cache."""
    item = Item(**values.model_dump())
    session.add(item)
    session.commit()
    session.refresh(item)
    client.delete("peer:items")
    return ItemRead.model_validate(item)


@app.put("/items/{item_id}")
def replace_item(item_id: int, values: ItemWrite, session: SessionDep, client: CacheDep) -> ItemRead:
    """Change it, and drop the list from the cache."""
    item = session.get(Item, item_id)
    if item is None:
        raise HTTPException(404)
    item.sqlmodel_update(values.model_dump())
    session.commit()
    session.refresh(item)
    client.delete("peer:items")
    return ItemRead.model_validate(item)


@app.get("/items/{item_id}")
def get_item(item_id: int, session: SessionDep) -> ItemRead:
    """Answer from the database: the article caches the list alone."""
    found = session.exec(select(Item).where(col(Item.id) == item_id)).one_or_none()
    if found is None:
        raise HTTPException(404)
    return ItemRead.model_validate(found)
