"""What is somebody else's is never touched; what is ours is kept, claimed and swept as it should be."""

from contextlib import closing

import psycopg
import pytest
import redis

from service.embedded import PostgresServer
from service.testing import ownership
from service.testing.ownership import Owner, connect_admin, create_database, drop_database, rename_unaltered
from service.testing.redis_claims import RedisClaim, claim_database, forget_claim
from service.testing.sweeping import remove_run, sweep
from tests.harness.conftest import SUBSCRIBE, Everything, GivenServers, RunBookshop, unsubscribe
from tests.waiting import wait_until

GONE_SECONDS = 3.0


def test_a_failing_clone_test_keeps_its_database_on_a_given_server(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from shop_factories import BookFactory

        @pytest.mark.db(isolation="clone")
        def test_it(session):
            BookFactory(title="Evidence")
            assert False
        """
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(failed=1)
    (line,) = [line for line in result.outlines if line.startswith("kept; open it with: psql ")]
    url = line.split("psql ")[1].strip("'")
    with psycopg.connect(url) as kept:
        assert kept.execute("SELECT title FROM book").fetchall() == [("Evidence",)]
    with psycopg.connect(given.postgres.url(), autocommit=True) as admin:
        (name,) = given.databases() - neighbour[0]
        admin.execute(f"DROP DATABASE {name}")


def test_sweep_drops_what_dead_owners_left_and_nothing_else(given: GivenServers, neighbour: Everything) -> None:
    living, dead = Owner("bookshop", "abcdef012345", "gw0"), Owner("bookshop", "abcdef012345", "gw1")
    with connect_admin(given.postgres.url()) as admin, connect_admin(given.postgres.url()) as life:
        ownership.claim(life, living)
        for owner in (living, dead):
            create_database(admin, owner.database_name(0), owner.record(), template="template0", strategy=None)

        assert sweep(admin) == [dead.database_name(0)]
        assert given.databases() == neighbour[0] | {living.database_name(0)}

        life.close()
        swept: list[str] = []

        def has_swept() -> bool:
            swept.extend(sweep(admin))
            return bool(swept)

        wait_until(has_swept, seconds=GONE_SECONDS)
        assert swept == [living.database_name(0)]
    assert given.everything() == neighbour


def test_a_sweep_drops_a_database_whose_drop_was_interrupted(given: GivenServers) -> None:
    owner = Owner("bookshop", "abcdef012345", "gw0")
    create_database(given.admin, owner.database_name(0), owner.record(), template="template0", strategy=None)
    # What PostgreSQL notes when it has begun to remove the files.
    given.admin.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [owner.database_name(0)])

    with connect_admin(given.postgres.url()) as admin:
        assert sweep(admin) == [owner.database_name(0)]


def test_a_user_whose_name_needs_quoting_may_rename_a_database(given: GivenServers) -> None:
    owner = Owner("bookshop", "abcdef012345", "gw0")
    used, renewed = owner.database_name(0), owner.database_name(1)
    given.admin.execute('CREATE ROLE "Ada.Byron" LOGIN CREATEDB')
    try:
        with connect_admin(given.postgres.url().replace("postgres@", "Ada.Byron@")) as admin:
            create_database(admin, used, owner.record(), template="template0", strategy=None)

            assert rename_unaltered(admin, used, renewed)
    finally:
        for name in (used, renewed):
            drop_database(given.admin, name)
        given.admin.execute('DROP ROLE "Ada.Byron"')


def test_a_sweep_drops_a_database_with_a_forgotten_prepared_transaction() -> None:
    name = Owner("bookshop", "abcdef012345", "gw0").database_name(0)
    with (
        PostgresServer.start(extra_settings={"max_prepared_transactions": "1"}) as server,
        connect_admin(server.url()) as admin,
    ):
        record = Owner("bookshop", "abcdef012345", "gw0").record()
        create_database(admin, name, record, template="template0", strategy=None)
        with closing(psycopg.connect(server.url(name))) as connection:
            connection.tpc_begin("it's forgotten")
            connection.execute("CREATE TABLE book ()")
            connection.tpc_prepare()

        assert sweep(admin) == [name]


def test_a_database_that_cannot_be_dropped_keeps_no_other_from_going(given: GivenServers, undroppable: Owner) -> None:
    before = given.databases()
    for number in (1, 2):
        name = undroppable.database_name(number)
        create_database(given.admin, name, undroppable.record(), template="template0", strategy=None)

        assert sweep(given.admin) == [name]

        create_database(given.admin, name, undroppable.record(), template="template0", strategy=None)
        remove_run(given.admin, undroppable)

        assert given.databases() == before


def test_tests_go_on_where_a_database_cannot_be_dropped(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        f"""
        import pytest
        from sqlalchemy import text

        @pytest.mark.db(isolation="clone")
        @pytest.mark.parametrize("number", range(6))
        def test_it(session, number):
            session.execute(text("DROP TABLE book"))
            session.execute(text("{SUBSCRIBE}"))
            session.commit()
        """
    )
    before = given.databases()
    try:
        run_bookshop("-n0", env=given.environment).assert_outcomes(passed=6)
    finally:
        for name in given.databases() - before:
            # Nothing but these is left.
            unsubscribe(given, name)


@pytest.mark.usefixtures("neighbour")
def test_the_newest_three_kept_databases_of_a_project_survive_a_sweep(given: GivenServers) -> None:
    owner, other = Owner("bookshop", "abcdef012345", "gw0"), Owner("library", "abcdef012345", "gw0")
    with connect_admin(given.postgres.url()) as admin:
        for owner_of, number in [(owner, 0), (other, 0), *((owner, number) for number in range(1, 4))]:
            record = owner_of.record(kept=f"test {number}")
            create_database(admin, owner_of.database_name(number), record, template="template0", strategy=None)

        assert sweep(admin) == [owner.database_name(0)]

        for kept in (other.database_name(0), *map(owner.database_name, range(1, 4))):
            admin.execute(f"DROP DATABASE {kept}")


@pytest.mark.usefixtures("neighbour")
def test_redis_databases_are_claimed_once_and_only_when_empty(given: GivenServers) -> None:
    claims = list(iter(lambda: claim_database(given.redis.url), None))

    # 0 is everybody's, and 1 holds a neighbour's key.
    assert [claim.number for claim in claims] == list(range(2, 16))
    for claim in claims:
        claim.release()


def claim_one(given: GivenServers) -> RedisClaim:
    claim = claim_database(given.redis.url)
    assert claim is not None
    return claim


@pytest.mark.usefixtures("neighbour")
def test_what_a_dead_worker_left_in_redis_is_removed_unless_somebody_has_claimed_it_since(given: GivenServers) -> None:
    first = claim_one(given)
    with redis.Redis.from_url(first.url) as client:
        client.set("left", 1)
        first.holder.close()
        forget_claim(first.record)
        assert client.dbsize() == 0

        second = claim_one(given)
        assert second.number == first.number
        client.set("in use", 1)
        forget_claim(first.record)
        assert client.dbsize() == 1
        second.holder.close()
        forget_claim({**second.record, "server": "another"})
        assert client.dbsize() == 1
        client.delete("in use")
