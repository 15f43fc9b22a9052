"""`python -m service.testing doctor|sweep|psql`: for when tests do not reach their servers, or have left something."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from service.embedded import EmbeddedError, PostgresServer, RedisServer
from service.testing.addresses import for_libpq, mask
from service.testing.errors import SetupError
from service.testing.ownership import LOCK_DATABASE, Admin, connect_admin, let_create, list_owned
from service.testing.psql import open_dump, open_kept
from service.testing.redis_claims import claim_database
from service.testing.servers import Choice
from service.testing.sweeping import find_leftovers, remove

_NO_SERVER = (
    "TEST_DATABASE_URL is not set. Embedded servers end with their run and leave nothing, so there is nothing to {}."
    " Set it to the URL of the server that the tests used."
)


def main() -> None:
    """Run one command; exit status 1 when it found or met a problem."""
    arguments = _parse()
    try:
        choice = Choice.read(compose_file=None, allow_remote=arguments.allow_remote_services, environ=os.environ)
        sys.exit(arguments.run(choice, arguments))
    except (SetupError, EmbeddedError) as error:
        sys.exit(str(error))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.testing", description=__doc__)
    parser.add_argument("--allow-remote-services", action="store_true", help="as for pytest")
    commands = parser.add_subparsers(required=True, metavar="doctor|sweep|psql")
    doctor = commands.add_parser("doctor", help="try everything that a run needs, and list what is on the servers")
    doctor.set_defaults(run=run_doctor)
    sweep_parser = commands.add_parser("sweep", help="drop the databases of runs that were killed")
    sweep_parser.set_defaults(run=run_sweep)
    psql = commands.add_parser("psql", help="open the database that a failed test has kept")
    psql.add_argument("kept", nargs="?", help="a file or a database that a report named (default: the newest database)")
    psql.set_defaults(run=run_psql)
    return parser.parse_args()


def run_doctor(choice: Choice, _: argparse.Namespace) -> int:
    """Try everything, and say what works."""
    checks: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("PostgreSQL", lambda: _examine_postgres(choice)),
        ("Redis", lambda: _examine_redis(choice)),
    ]
    failed = [name for name, check in checks if not _report(name, check)]
    return int(bool(failed))


def _report(name: str, check: Callable[[], Iterator[str]]) -> bool:
    try:
        for line in check():
            print(f"{name}: {line}")  # noqa: T201  # the command's answer
    except (SetupError, EmbeddedError) as error:
        print(f"{name}: PROBLEM: {error}")  # noqa: T201
        return False
    return True


def _examine_postgres(choice: Choice) -> Iterator[str]:
    yield choice.describe()[0]
    if choice.database_url is None:
        with PostgresServer.start() as server:
            yield f"version {server.version} starts, with its files in {server.data_directory.parent}"
        return
    with _connect(choice.database_url) as admin:
        yield "version {}.{}".format(*divmod(admin.info.server_version, 10_000))
        yield from _examine_databases(admin)


def _examine_databases(admin: Admin) -> Iterator[str]:
    row = admin.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if row != (True,):
        raise SetupError(f"the user {admin.info.user!r} may not create databases: {let_create(admin)}.")
    leftovers = {database.name for database in find_leftovers(admin)}
    for database in list_owned(admin):
        kept = f", kept by {database.record['kept']}" if "kept" in database.record else ""
        yield f"{database.name}{kept}{', left by a dead run (sweep drops it)' if database.name in leftovers else ''}"


def _examine_redis(choice: Choice) -> Iterator[str]:
    yield choice.describe()[1]
    if choice.redis_url is None:
        with RedisServer.start() as server:
            yield f"starts, as process {server.pid}"
    elif claim := claim_database(choice.redis_url):
        yield f"database {claim.number} is empty and can be claimed"
        claim.holder.close()
    else:
        raise SetupError(
            "no database but 0 is empty. Give the server more `databases`, or empty those that nobody needs."
        )


def run_sweep(choice: Choice, _: argparse.Namespace) -> int:
    """Drop what dead runs have left, and say what cannot be dropped."""
    if choice.database_url is None:
        raise SetupError(_NO_SERVER.format("sweep"))
    with _connect(choice.database_url) as admin:
        refusals = {database.name: remove(admin, database) for database in find_leftovers(admin)}
    lines = [f"{name} cannot be dropped: {why}" if why else f"dropped {name}" for name, why in refusals.items()]
    print("\n".join(lines) or f"nothing left on {mask(choice.database_url)}")  # noqa: T201
    return int(any(refusals.values()))


def run_psql(choice: Choice, arguments: argparse.Namespace) -> int:
    """Open psql on a kept database, or on a dump of one."""
    if arguments.kept and Path(arguments.kept).is_file():
        return open_dump(Path(arguments.kept))
    if arguments.kept and os.sep in arguments.kept:
        raise SetupError(
            f"There is no file {arguments.kept}. pytest keeps those of its last three runs; run the test again to have"
            " another."
        )
    if choice.database_url is None:
        raise SetupError(_NO_SERVER.format("open but the file that the report named"))
    return open_kept(choice.database_url, arguments.kept)


def _connect(url: str) -> Admin:
    return connect_admin(for_libpq(url, LOCK_DATABASE))


if __name__ == "__main__":
    main()
