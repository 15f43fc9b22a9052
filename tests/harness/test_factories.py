import pytest

from tests.harness.conftest import GivenServers, RunBookshop

# Tables beside those of the migrations; a test makes them in its own transaction.
SHELVES = """
    import factory
    import pytest
    from bookshop import Row
    from service.testing.factories import ModelFactory
    from sqlmodel import Column, Field, ForeignKey, Integer, Relationship

    class Shelf(Row, table=True):
        id: int | None = Field(default=None, primary_key=True)

    class Box(Row, table=True):
        number: int | None = Field(default=None, sa_column=Column("box_number", Integer, primary_key=True))
        shelf_id: int | None = Field(default=None, foreign_key="shelf.id")
        shelf: Shelf | None = Relationship()
        label: "Label" = Relationship(back_populates="box", sa_relationship_kwargs={"uselist": False})

    class Label(Row, table=True):
        id: int | None = Field(default=None, primary_key=True)
        box_number: int = Field(sa_column=Column("box_fk", ForeignKey("box.box_number"), nullable=False))
        box: Box = Relationship(back_populates="label")

    class ShelfFactory(ModelFactory[Shelf]):
        class Meta:
            model = Shelf

    class BoxFactory(ModelFactory[Box]):
        class Meta:
            model = Box

        shelf = factory.SubFactory(ShelfFactory)

    class LabelFactory(ModelFactory[Label]):
        class Meta:
            model = Label

        box = factory.SubFactory(BoxFactory)

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


def test_a_key_may_have_another_name_in_the_database(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        shelves=SHELVES,
        test_it="""
        from shelves import BoxFactory, LabelFactory, ShelfFactory, tables

        def test_create(tables):
            label = LabelFactory()

            assert label.box_number == label.box.number
            assert label.box.number is not None

        def test_build():
            assert LabelFactory.build().box_number is None
            assert LabelFactory.build(box=BoxFactory.build(number=7)).box_number == 7

        def test_the_other_side_of_a_key(tables):
            label = LabelFactory()

            box = BoxFactory(label=label)

            assert (label.box, label.box_number) == (box, box.number)
        """,
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=3)


def test_factories_store_in_whatever_thread_or_task_a_test_runs(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        from concurrent.futures import ThreadPoolExecutor
        import pytest
        from service.testing.seeding import Destination, destination, storing
        from shop_factories import AuthorFactory, BookFactory

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def earlier(anyio_backend):
            pass

        @pytest.fixture
        async def book(session):
            return BookFactory()

        async def test_coroutine(earlier, book, anyio_backend):
            assert [book.title, BookFactory().title] == ["Volume 0", "Volume 1"]

        @pytest.mark.db(isolation="clone")
        def test_thread(client):
            with ThreadPoolExecutor(1) as threads:
                threads.submit(lambda: BookFactory() and None).result()

            assert client.get("/books").json() == ["Volume 0"]

        def test_one_destination_inside_of_another(session):
            outer, inner = destination(), Destination(lambda: None, commits=False)

            with pytest.raises(RuntimeError), storing(inner):
                assert destination() is inner
                raise RuntimeError

            assert destination() is outer

        def test_without_a_database():
            with pytest.raises(LookupError, match="ask for the fixture `session`"):
                AuthorFactory()
        """
    )

    run_bookshop("-n0", "-panyio", env=given.environment).assert_outcomes(passed=4)


def test_sequences_begin_where_their_factory_says_and_go_on_after_data(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import factory
        import pytest
        from bookshop import Author
        from service.testing.data import db_data
        from service.testing.factories import ModelFactory
        from sqlmodel import func, select

        class PoetFactory(ModelFactory[Author]):
            class Meta:
                model = Author

            name = factory.Sequence(lambda number: f"Poet {number}")

            @classmethod
            def _setup_next_sequence(cls):
                return 1000

        class BardFactory(PoetFactory):
            pass

        @pytest.mark.parametrize("_again", range(2))
        def test_sequence(_again):
            made = [PoetFactory.build(), BardFactory.build(), PoetFactory.build()]

            assert [poet.name for poet in made] == ["Poet 1000", "Poet 1001", "Poet 1002"]

        @db_data
        def bard():
            return BardFactory()

        @pytest.mark.parametrize("_again", range(2))
        def test_after_data(bard, _again):
            assert [bard.name, PoetFactory.build().name] == ["Poet 1000", "Poet 1001"]

        @pytest.mark.parametrize("_again", range(2))
        def test_a_beginning_that_depends_on_the_database(session, monkeypatch, _again):
            count = select(func.count(Author.id))
            monkeypatch.setattr(PoetFactory, "_setup_next_sequence", lambda: session.exec(count).one())

            assert [PoetFactory().name, PoetFactory().name] == ["Poet 1", "Poet 2"]
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=6)


def test_iterators_begin_anew_in_each_test_and_go_on_after_data(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import factory
        import pytest
        from service.testing.data import db_data
        from shop_factories import AuthorFactory, BookFactory

        class PoemFactory(BookFactory):
            class Params:
                is_old = factory.Trait(title=factory.Iterator(["Old", "Older", "Oldest"]))

            title = factory.Iterator(["A", "B", "C", "D"])
            author = factory.SubFactory(AuthorFactory, name=factory.Iterator(iter(["Ann", "Bob", "Cid", "Dan"])))

        class OdeFactory(PoemFactory):
            pass

        @pytest.mark.parametrize("_again", range(2))
        def test_iterator(_again):
            poems = [PoemFactory.build(), OdeFactory.build(), PoemFactory.build(is_old=True)]

            assert [(poem.title, poem.author.name) for poem in poems] == [("A", "Ann"), ("B", "Bob"), ("Old", "Cid")]

        @db_data
        def poem():
            return PoemFactory()

        @pytest.mark.parametrize("_again", range(2))
        def test_after_data(poem, _again):
            assert [poem.title, PoemFactory.build().title] == ["A", "B"]

        @pytest.fixture
        def before():
            return OdeFactory.build_batch(2)[-1].title

        @db_data
        def ode():
            return OdeFactory()

        @pytest.mark.parametrize("_again", range(2))
        def test_before_data(before, ode, _again):
            assert [before, ode.title, PoemFactory.build().title] == ["B", "A", "C"]
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=6)


def test_the_application_sees_what_is_done_after_the_generation(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import factory
        import pytest
        from bookshop import Book
        from shop_factories import AuthorFactory, BookFactory
        from sqlalchemy.orm import object_session

        class DraftFactory(BookFactory):
            @factory.post_generation
            def renamed(self, create, extracted):
                self.title += ", a draft"

            @factory.post_generation
            def sequel(self, create, extracted):
                if extracted:
                    object_session(self).add(Book(title=extracted, author_id=self.author_id))

        @pytest.mark.db(isolation="clone")
        def test_clone(client):
            DraftFactory(sequel="Volume 1")

            assert client.get("/books").json() == ["Volume 0, a draft", "Volume 1"]

        def test_rollback(session, client):
            DraftFactory(sequel="Volume 1")

            assert not session.new and not session.dirty
            assert client.get("/books").json() == ["Volume 0, a draft", "Volume 1"]

        def test_without_a_database():
            assert DraftFactory.build().title == "Volume 0, a draft"
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=3)


def test_a_factory_gets_what_is_there_by_the_columns_that_it_names(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import factory
        import pytest
        from bookshop import Author, Book
        from service.testing.factories import ModelFactory
        from shop_factories import AuthorFactory, BookFactory

        class PoetFactory(AuthorFactory):
            class Meta:
                sqlalchemy_get_or_create = ["name"]

        class PoemFactory(BookFactory):
            class Meta:
                sqlalchemy_get_or_create = ["author", "title"]

            author = factory.SubFactory(PoetFactory, name="Ann")

        @pytest.mark.parametrize("_again", range(2))
        @pytest.mark.parametrize("level", ["rollback", pytest.param("clone", marks=pytest.mark.db(isolation="clone"))])
        def test_it(session, client, level, _again):
            poem = PoemFactory(title="One")

            assert PoemFactory(title="One") is poem
            assert PoemFactory(title="Two").author is poem.author
            assert PoetFactory(name="Bob") is not poem.author
            assert client.get("/books").json() == ["One", "Two"]

        def test_build():
            assert PoetFactory.build(name="Ann") is not PoetFactory.build(name="Ann")

        def test_no_value(session):
            class BadFactory(BookFactory):
                class Meta:
                    sqlalchemy_get_or_create = ["author_id"]

            with pytest.raises(factory.FactoryError, match="BadFactory has no value of author_id, .*get_or_create"):
                BadFactory()
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=6)
