"""The article's design: asynchronous SQLModel on psycopg, a session dependency, the list as JSON strings in Redis."""

import json
import os
from collections.abc import AsyncIterator
from typing import Annotated

import redis.asyncio
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import col, select

from service.models import Item
from service.schemas import ItemRead, ItemWrite

engine = create_async_engine(make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"))
sessions = async_sessionmaker(engine, expire_on_commit=False)
cache = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session for the request."""
    async with sessions() as session:
        yield session


async def get_cache() -> redis.asyncio.Redis:
    """The client."""
    return cache


SessionDep = Annotated[AsyncSession, Depends(get_session)]
CacheDep = Annotated[redis.asyncio.Redis, Depends(get_cache)]


@app.get("/items/")
async def list_items(session: SessionDep, client: CacheDep) -> list[ItemRead]:
    """Answer from the cache, else fill it."""
    cached = await client.get("peer:items")
    if cached is not None:
        return [ItemRead.model_validate_json(item) for item in json.loads(cached)]
    found = (await session.execute(select(Item).order_by(col(Item.id)).limit(100))).scalars().all()
    items = [ItemRead.model_validate(item) for item in found]
    await client.set("peer:items", json.dumps([item.model_dump_json() for item in items]), ex=300)
    return items


@app.get("/items/uncached")
async def list_uncached(session: SessionDep) -> list[ItemRead]:
    """Answer from the database."""
    found = (await session.execute(select(Item).order_by(col(Item.id)).limit(100))).scalars().all()
    return [ItemRead.model_validate(item) for item in found]


@app.post("/items/")
async def create_item(values: ItemWrite, session: SessionDep, client: CacheDep) -> ItemRead:
    """Store it, and drop the list from the cache."""
    item = Item(**values.model_dump())
    session.add(item)
    await session.commit()
    await session.refresh(item)
    await client.delete("peer:items")
    return ItemRead.model_validate(item)


@app.put("/items/{item_id}")
async def replace_item(item_id: int, values: ItemWrite, session: SessionDep, client: CacheDep) -> ItemRead:
    """Change it, and drop the list from the cache."""
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404)
    item.sqlmodel_update(values.model_dump())
    await session.commit()
    await session.refresh(item)
    await client.delete("peer:items")
    return ItemRead.model_validate(item)


@app.get("/items/{item_id}")
async def get_item(item_id: int, session: SessionDep) -> ItemRead:
    """Answer from the database: the article caches the list alone."""
    found = (await session.execute(select(Item).where(col(Item.id) == item_id))).scalar_one_or_none()
    if found is None:
        raise HTTPException(404)
    return ItemRead.model_validate(found)
