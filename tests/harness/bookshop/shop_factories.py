# mypy: ignore-errors
"""Factories of the bookshop."""

import factory
from factory.fuzzy import FuzzyInteger
from service.testing.factories import ModelFactory

from bookshop import Author, Book


class AuthorFactory(ModelFactory[Author]):
    class Meta:
        model = Author

    name = factory.Faker("name")


class BookFactory(ModelFactory[Book]):
    class Meta:
        model = Book

    title = factory.Sequence(lambda number: f"Volume {number}")
    author = factory.SubFactory(AuthorFactory)

    class Params:
        edition = FuzzyInteger(1, 10**9)
