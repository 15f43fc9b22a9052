"""What the migrations build is what the models say."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, ColumnElement, Connection, Engine, asc, desc, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col, insert, select

from service.models import Item
from tests.databases import alembic_config

pytestmark = pytest.mark.db(isolation="clone")

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, identity_generation,
               collation_name, numeric_precision, numeric_scale
          FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
}


def describe(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Every column, constraint and index, Alembic's own table aside."""
    with engine.connect() as connection:
        return {
            part: [tuple(row) for row in connection.execute(text(query)) if row[0] != "alembic_version"]
            for part, query in CATALOGUE.items()
        }


def run(engine: Engine, *steps: str) -> None:
    """Upgrade or downgrade to each of `steps` in turn."""
    config = alembic_config()
    for step in steps:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if step.startswith("-") or step == "base" else command.upgrade)(config, step)


def is_untouched(connection: Connection) -> bool:
    """Whether nothing is there but Alembic's own, empty table."""
    functions = connection.execute(text("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
    return inspect(connection).get_table_names() == ["alembic_version"] and functions.scalar_one() == 0


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1


def test_a_migration_is_named_by_its_day_and_says_what_it_does() -> None:
    for script in ScriptDirectory.from_config(alembic_config()).walk_revisions():
        day = script.revision[:8]
        assert script.path.rpartition("/")[2].startswith(f"{day[:4]}_{day[4:6]}_{day[6:]}_")
        assert len(script.doc) > 10


def test_the_ids_of_migrations_sort_in_the_order_of_the_migrations() -> None:
    ids = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]

    assert ids == sorted(ids, reverse=True)


def test_alembic_finds_no_difference_to_the_models(migrated_engine: Engine) -> None:
    config = alembic_config()

    with migrated_engine.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_columns_constraints_and_indexes_are_those_of_the_models(engine: Engine, empty_engine: Engine) -> None:
    # `alembic check` compares neither defaults nor CHECK constraints.
    SQLModel.metadata.create_all(empty_engine)

    assert describe(engine) == describe(empty_engine)


def test_down_and_up_again_ends_where_it_began(migrated_engine: Engine) -> None:
    before = describe(migrated_engine)

    run(migrated_engine, "base")
    with migrated_engine.connect() as connection:
        assert is_untouched(connection)
    run(migrated_engine, "head")

    assert describe(migrated_engine) == before


def test_each_migration_can_be_undone_by_itself(empty_engine: Engine) -> None:
    for _ in ScriptDirectory.from_config(alembic_config()).walk_revisions():
        run(empty_engine, "+1")
        before = describe(empty_engine)
        run(empty_engine, "-1", "+1")
        assert describe(empty_engine) == before


def test_a_migration_that_fails_leaves_nothing_behind(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE item_updated_at_id (in_the_way int)"))

    with pytest.raises(Exception, match="already exists"):
        run(empty_engine, "head")

    with empty_engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["item_updated_at_id"]


@pytest.mark.parametrize("sort", ["id", "name", "price", "created_at", "updated_at"])
def test_every_sort_of_the_list_has_an_index(engine: Engine, sort: str) -> None:
    indexes = [
        *(index["column_names"] for index in inspect(engine).get_indexes("item")),
        inspect(engine).get_pk_constraint("item")["constrained_columns"],
    ]

    assert (["id"] if sort == "id" else [sort, "id"]) in indexes


@pytest.mark.parametrize("sort", ["id", "name", "price", "created_at", "updated_at"])
@pytest.mark.parametrize("direction", [asc, desc])
def test_postgresql_sorts_the_list_by_that_index(
    session: Session, sort: str, direction: Callable[[Any], ColumnElement[Any]]
) -> None:
    # Small tables are sorted in memory; without that choice, only an index avoids a Sort.
    session.execute(text("SET LOCAL enable_seqscan = off"))
    order = [direction(getattr(Item, sort)), direction(col(Item.id))]
    query = select(Item).order_by(*order).compile(session.connection())
    plan = session.execute(text(f"EXPLAIN {query}")).scalars().all()

    assert not any("Sort" in line for line in plan), plan
    assert any("Index Scan" in line for line in plan), plan


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"name": ""}, "item_name_length"),
        ({"name": "x" * 201}, "item_name_length"),
        ({"description": "x" * 10_001}, "item_description_length"),
        ({"price": Decimal("-0.01")}, "item_price_range"),
        ({"price": Decimal("NaN")}, "item_price_range"),
        ({"version": 0}, "item_version_positive"),
        ({"id": 0}, "item_id_positive"),
        ({"created_at": "infinity"}, "item_created_at_range"),
        ({"created_at": "0044-03-15 BC"}, "item_created_at_range"),
        ({"updated_at": "-infinity"}, "item_updated_at_range"),
        ({"updated_at": "10000-01-01"}, "item_updated_at_range"),
    ],
    ids=str,
)
def test_the_database_itself_refuses_what_breaks_the_rules(
    session: Session, values: dict[str, object], constraint: str
) -> None:
    statement = insert(Item).values({"name": "Widget", "price": 1} | values)

    with pytest.raises(IntegrityError, match=f'"{constraint}"'):
        session.exec(statement)


@pytest.mark.parametrize("column", ["name", "price", "created_at", "updated_at", "version"])
def test_no_column_but_the_description_may_be_null(session: Session, column: str) -> None:
    statement = insert(Item).values({"name": "Widget", "price": 1, column: None})

    with pytest.raises(IntegrityError, match=f'null value in column "{column}"'):
        session.exec(statement)


def test_every_constraint_has_the_name_that_the_model_gives_it(engine: Engine) -> None:
    named = {constraint["name"] for constraint in inspect(engine).get_check_constraints("item")}
    indexed = {index["name"] for index in inspect(engine).get_indexes("item")}

    table = SQLModel.metadata.tables[Item.__tablename__]
    assert named == {rule.name for rule in table.constraints if isinstance(rule, CheckConstraint)}
    assert indexed == {index.name for index in table.indexes}
