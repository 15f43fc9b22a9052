import pytest

from tests.harness.conftest import GivenServers, RunBookshop

# Tables beside those of the migrations; a test makes them in its own transaction.
SHELVES = """
    import factory
    import pytest
    from bookshop import Row
    from service.testing.factories import ModelFactory
    from sqlmodel import Field, Relationship

    class Shelf(Row, table=True):
        id: int | None = Field(default=None, primary_key=True)

    class Box(Row, table=True):
        id: int | None = Field(default=None, primary_key=True)
        shelf_id: int | None = Field(default=None, foreign_key="shelf.id")
        shelf: Shelf | None = Relationship()

    class ShelfFactory(ModelFactory[Shelf]):
        class Meta:
            model = Shelf

    class BoxFactory(ModelFactory[Box]):
        class Meta:
            model = Box

        shelf = factory.SubFactory(ShelfFactory)

    @pytest.fixture
    def tables(session):
        Row.metadata.create_all(session.connection())
"""


def test_a_related_object_may_be_none(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        shelves=SHELVES,
        test_it="""
        import pytest
        from pydantic import ValidationError
        from shelves import BoxFactory, ShelfFactory, tables
        from shop_factories import BookFactory

        def test_build():
            box = BoxFactory.build(shelf=None)

            assert (box.shelf, box.shelf_id) == (None, None)

        def test_create(tables):
            box = BoxFactory(shelf=None)

            assert (box.shelf, box.shelf_id) == (None, None)

        def test_a_key_in_its_place(tables):
            shelf = ShelfFactory()

            box = BoxFactory(shelf=None, shelf_id=shelf.id)

            assert (box.shelf, box.shelf_id) == (shelf, shelf.id)

        def test_one_that_is_needed():
            with pytest.raises(ValidationError, match="author_id"):
                BookFactory.build(author=None)
        """,
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=4)
