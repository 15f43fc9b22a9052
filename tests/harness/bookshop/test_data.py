# mypy: ignore-errors
"""Rows that are built once, and random data that depends on nothing but the test."""

import os
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from service.testing.data import db_data
from sqlmodel import select

from bookshop import Author, Book
from shop_factories import AuthorFactory, BookFactory

# How many authors the migrations make.
ANONYMOUS = 1


def note(line):
    """Tell the outer test."""
    with Path(os.environ["SHOP_NOTES"]).open("a") as notes:
        notes.write(line + "\n")


@db_data(scope="session")
def poets(session):
    note("built poets")
    return AuthorFactory.create_batch(2)


@db_data()
def shelf(poets):
    note("built shelf")
    return {"books": [BookFactory(author=poet) for poet in poets], "label": ["poetry"]}


@db_data()
def renamed(poets):
    poets[0].name = "Renamed"
    return poets[0]


class ReprintFactory(BookFactory):
    """It counts with the books that it derives from."""


class Work(NamedTuple):
    poet: Author
    title: str


@dataclass(frozen=True, slots=True)
class Shop:
    owner: Author
    books: list[Book]


@db_data()
def shapes(poets):
    by_name = defaultdict(list, {poet.name: [poet] for poet in poets})
    shop = Shop(poets[0], BookFactory.create_batch(2, author=poets[0]))
    return SimpleNamespace(by_name=by_name, work=Work(poets[0], "Untitled"), shop=shop)


def test_data_is_of_this_tests_session(shelf, poets, session):
    assert [book.author for book in shelf["books"]] == poets
    assert all(book in session for book in shelf["books"])
    note("row " + repr([(book.title, book.author.name) for book in shelf["books"]]))


@pytest.mark.parametrize("_again", range(2))
def test_data_is_the_same_after_a_change(shelf, session, client, _again):
    assert shelf["label"] == ["poetry"]
    shelf["label"].append("prose")
    shelf["books"][0].title = "Renamed"
    session.commit()

    assert client.get("/books").json() == ["Renamed", "Volume 1"]


@pytest.mark.parametrize("_again", range(2))
@pytest.mark.db(isolation="clone")
def test_data_is_there_in_a_clone(shelf, client, _again):
    assert client.get("/books").json() == ["Volume 0", "Volume 1"]

    client.patch(f"/books/{shelf['books'][0].id}", params={"title": "Renamed"})


def test_data_that_a_test_does_not_ask_for_is_not_there(poets, client):
    assert client.get("/books").json() == []


def test_data_is_as_the_last_that_was_built_on_it_left_it(renamed, poets, session):
    assert poets[0] is renamed
    assert [poet.name for poet in poets] == list(session.exec(select(Author.name).order_by(Author.id)))[ANONYMOUS:]


@pytest.fixture
def drawn():
    return random.random()


@pytest.fixture
def famous(poets):
    poets[0].name = "Famous"


def test_data_does_not_disturb_what_was_before(drawn, famous, shelf, poets, session):
    assert random.random() != drawn
    assert shelf["books"][0].author is poets[0]
    assert poets[0].name == "Famous"


def test_data_is_as_it_was_for_who_asks_for_nothing_more(poets, session):
    assert "Renamed" not in {poet.name for poet in poets} | set(session.exec(select(Author.name)))


@pytest.mark.parametrize("_again", range(2))
def test_data_keeps_its_shape_with_rows_of_this_tests_session(shapes, session, client, _again):
    assert (type(shapes.work), shapes.work.title) == (Work, "Untitled")
    assert shapes.by_name[shapes.work.poet.name] == [shapes.work.poet]
    assert shapes.by_name["nobody"] == []
    assert shapes.shop.owner is shapes.work.poet in session
    shapes.by_name.clear()
    shapes.shop.books.pop().title = "Renamed"
    session.commit()

    assert client.get("/books").json() == ["Renamed", "Volume 0"]


@pytest.mark.parametrize("number", range(2))
def test_sequences_go_on_after_those_of_the_data(shelf, session, number):
    assert [BookFactory().title, ReprintFactory().title, BookFactory().title] == ["Volume 2", "Volume 3", "Volume 4"]
    note(f"row [{number}] {random.random()}, {AuthorFactory().name}")


@pytest.mark.parametrize("number", range(8))
def test_random_data_is_the_same_in_every_run(session, number):
    note(f"row {number}, {BookFactory().title}, {random.random()}, {AuthorFactory().name}")
