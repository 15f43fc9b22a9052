# mypy: ignore-errors
"""Rows that are built once, and random data that depends on nothing but the test."""

import os
from pathlib import Path

import pytest
from service.testing.data import db_data

from shop_factories import AuthorFactory, BookFactory


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


@pytest.mark.parametrize("number", range(8))
def test_random_data_is_the_same_in_every_run(session, number):
    note(f"row {number} {AuthorFactory().name} {BookFactory().title}")
