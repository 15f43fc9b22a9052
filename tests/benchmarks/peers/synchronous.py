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
from service.schemas import ItemRead

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


@app.get("/items/{item_id}")
def get_item(item_id: int, session: SessionDep) -> ItemRead:
    """Answer from the database: the article caches the list alone."""
    found = session.exec(select(Item).where(col(Item.id) == item_id)).one_or_none()
    if found is None:
        raise HTTPException(404)
    return ItemRead.model_validate(found)
