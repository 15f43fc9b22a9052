# mypy: ignore-errors
"""Another project, as its authors would have it: it knows nothing of the item service and of the test kit."""

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import redis
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import ForeignKey, UniqueConstraint, create_engine, func, text
from sqlalchemy.orm import registry, sessionmaker
from sqlmodel import Column, Field, Integer, Relationship, Session, SQLModel, select


class Row(SQLModel, registry=registry()):
    """The tables of this project have metadata of their own: it is imported beside another one, and more than once."""


class Author(Row, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(min_length=1)


class Book(Row, table=True):
    __table_args__ = (UniqueConstraint("title", name="book_title"),)

    id: int | None = Field(default=None, primary_key=True)
    title: str = Field(max_length=40)
    author_id: int = Field(
        sa_column=Column(Integer, ForeignKey("author.id", deferrable=True, initially="DEFERRED"), nullable=False)
    )
    author: Author = Relationship()


class BookWrite(BaseModel):
    title: str
    author_id: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = create_engine(os.environ["SHOP_DATABASE"])
    app.state.sessions = sessionmaker(app.state.engine, class_=Session)
    app.state.redis = redis.Redis.from_url(os.environ["SHOP_REDIS"])
    app.state.greeting = os.environ["SHOP_GREETING"]
    app.state.housekeeping = ThreadPoolExecutor(1)

    def count_books() -> int:
        with app.state.engine.connect() as connection:
            return connection.scalar(select(func.count(Book.id)))

    app.state.count_books = count_books
    app.state.housekeeping.submit(count_books).result()
    yield
    app.state.housekeeping.shutdown()
    app.state.redis.close()
    app.state.engine.dispose()


def get_session(request: Request) -> Iterator[Session]:
    with request.app.state.sessions() as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def create_app() -> FastAPI:  # noqa: C901  # a list of small endpoints
    app = FastAPI(lifespan=lifespan)

    @app.get("/greeting")
    def greet(request: Request) -> str:
        return str(request.app.state.greeting)

    @app.get("/books")
    def list_books(session: SessionDep) -> list[str]:
        return list(session.exec(select(Book.title).order_by(Book.title)))

    @app.post("/books")
    def add_book(values: BookWrite, session: SessionDep, request: Request) -> int:
        book = Book(**values.model_dump())
        session.add(book)
        session.commit()
        request.app.state.redis.incr("books")
        assert book.id is not None
        return book.id

    @app.patch("/books/{book_id}")
    def rename_book(book_id: int, title: str, session: SessionDep) -> None:
        if (book := session.get(Book, book_id)) is None:
            raise HTTPException(404)
        book.title = title
        session.commit()

    @app.post("/forgetful")
    def forget_to_commit(values: BookWrite, session: SessionDep) -> None:
        session.add(Book(**values.model_dump()))
        session.flush()

    @app.post("/later")
    def add_in_background(values: BookWrite, request: Request, tasks: BackgroundTasks) -> None:
        def add() -> None:
            with request.app.state.sessions() as session:
                session.add(Book(**values.model_dump()))
                session.commit()

        tasks.add_task(add)

    @app.post("/second-connection")
    def use_engine(request: Request) -> None:
        with request.app.state.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    @app.post("/swallowed")
    def swallow(request: Request) -> None:
        with suppress(Exception), request.app.state.engine.connect():
            pass

    @app.post("/overlap")
    def overlap(request: Request) -> None:
        with request.app.state.sessions() as first:
            first.execute(text("SELECT 1"))
            with request.app.state.sessions() as second:
                second.execute(text("SELECT 1"))
                first.commit()
                second.commit()

    @app.post("/sql")
    def run_sql(statement: str, session: SessionDep) -> None:
        session.execute(text(statement))
        session.commit()

    return app
