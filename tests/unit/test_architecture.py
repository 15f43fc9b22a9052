"""Rules of the house that import-linter cannot express."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from service.database import SCHEMA_REVISION, describe_schema_lag
from tests.databases import ROOT, alembic_config

PACKAGE = ROOT / "service"
# Fails at the first attempt to connect, to look a host up, or to start a process.
IMPORT_WITHOUT_IO = """
import sys
FORBIDDEN = {"socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.fork"}
def refuse(event, arguments):
    if event in FORBIDDEN or (event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1])):
        raise SystemExit(f"{event} {arguments} at import")
sys.dont_write_bytecode = True
sys.addaudithook(refuse)
import service.main
assert service.main.app.title == "Item service"
"""


@cache
def nodes_of(file: Path) -> list[ast.AST]:
    """The syntax tree of `file`."""
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def calls_of(method: str, file: Path) -> list[int]:
    """The lines of `file` that call `.method()` on something."""
    return [
        node.lineno
        for node in nodes_of(file)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
    ]


def test_only_the_unit_of_work_commits() -> None:
    # The kit's own transactions are its business.
    files = [
        file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in {"testing", "embedded"}
    ]

    assert {file.name for file in files if calls_of("commit", file)} == {"unit_of_work.py"}
    # Leaving the block of a `begin()` commits too. Migrations and sample items are one transaction, before any request.
    assert {file.name for file in files if calls_of("begin", file)} == {"up.py"}


def test_the_statements_of_crud_end_no_transaction() -> None:
    calls = {
        (file.name, method)
        for file in (PACKAGE / "crud").glob("*.py")
        for method in ("commit", "rollback", "begin", "close")
        if calls_of(method, file)
    }

    assert calls == set()


@pytest.mark.parametrize(
    "module",
    [
        *("catalogue", "batch", "crud", "entries", "operations", "cache", "models", "schemas", "database"),
        *("errors", "config", "preconditions", "transfer", "unit_of_work", "expiry", "feed", "filters"),
    ],
)
def test_what_lies_below_the_routers_does_not_know_the_web_framework(module: str) -> None:
    files = [*PACKAGE.glob(f"{module}.py"), *PACKAGE.glob(f"{module}/*.py")]
    nodes = [node for file in files for node in nodes_of(file)]
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]

    assert {name.partition(".")[0] for name in imported}.isdisjoint({"fastapi", "starlette", "uvicorn"})


@pytest.mark.parametrize(
    ("package", "known"), [("testing", {"testing", "embedded"}), ("embedded", {"embedded"}), ("client", {"client"})]
)
def test_what_others_can_use_knows_nothing_of_the_service(package: str, known: set[str]) -> None:
    files = list((PACKAGE / package).rglob("*.py"))
    beginnings = ["", f"service.{package}.", "service."]
    modules = {
        f"{beginnings[node.level]}{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for file in files
        for node in nodes_of(file)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert len(files) > 1
    ours = {tuple(name.split(".")[:2]) for name in modules if name.partition(".")[0] == "service"}
    assert ours <= {("service", other) for other in known}


@pytest.mark.slow
def test_importing_the_application_does_no_io(tmp_path: Path) -> None:
    # Servers that nobody reaches, and a setting that nobody may read yet. That nothing has to be set, all tests show.
    environment = {
        "DATABASE_URL": "postgresql://u:p@192.0.2.1/items",
        "REDIS_URL": "redis://192.0.2.1",
        "THREADS": "nonsense",
    }

    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_IO],
        env={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_code_needs_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == SCHEMA_REVISION


@pytest.mark.parametrize("revision", [SCHEMA_REVISION, f"{SCHEMA_REVISION}1", "29990101_01"])
def test_a_database_at_or_ahead_of_the_code_will_do(revision: str) -> None:
    assert describe_schema_lag(revision) is None


@pytest.mark.parametrize("revision", [None, "", "20200101_01", "deadbeef"])
def test_a_database_behind_the_code_is_told_with_the_way_out(revision: str | None) -> None:
    assert describe_schema_lag(revision) == (
        f"The database is at migration {revision or '(none)'}, this release needs {SCHEMA_REVISION}:"
        " run `alembic upgrade head`."
    )
