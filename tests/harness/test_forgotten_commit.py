"""Deleting any one commit() of the item service turns its suite red."""

import ast
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from service.testing.fork_server import ForkServer
from tests.harness.conftest import ROOT, GivenServers

RunSuites = Callable[..., CompletedProcess[str]]

COPIED = ("service", "migrations", "tests", "pyproject.toml", "alembic.ini")
# The kit commits for the tests' sake, and the embedded servers have nothing to commit.
NOT_OF_THE_SERVICE = {"testing", "embedded"}
# Where a missing commit is likely to show soon, and where it has to show.
SUITES = ["tests/api/test_article.py", "tests/cli/test_expire.py"], ["tests/api", "tests/cache", "tests/cli"]


def calls_of_commit(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "commit"]


def find_commits() -> list[tuple[str, int]]:
    """Every commit() of the service: its file, and which of that file's it is."""
    folder = ROOT / "service"
    files = [path for path in folder.rglob("*.py") if path.relative_to(folder).parts[0] not in NOT_OF_THE_SERVICE]
    return [
        (str(path.relative_to(ROOT)), number)
        for path in sorted(files)
        for number in range(len(calls_of_commit(ast.parse(path.read_text(encoding="utf-8")))))
    ]


def delete_commit(path: Path, number: int) -> None:
    """Let the call do nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls_of_commit(tree)[number].func = ast.Name("bool")
    path.write_text(ast.unparse(tree), encoding="utf-8")


def copy_project(target: Path) -> None:
    """With what Python has compiled: it goes by the times of the files, which are copied too."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            # The kit's servers are a part of the package; only their tests are left out.
            ignored = ("harness", "benchmarks", "embedded") if name == "tests" else ()
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns(*ignored))
        else:
            shutil.copy(source, target)


def test_the_service_commits() -> None:
    assert {path for path, _ in find_commits()} >= {"service/unit_of_work.py"}


@pytest.fixture
def run_suites(
    pytester: pytest.Pytester, inner_environment: pytest.MonkeyPatch, interpreters: ForkServer, given: GivenServers
) -> Iterator[RunSuites]:
    """Run the project's tests in a copy of it. What a failing one has kept on the server goes with this test."""
    copy_project(pytester.path)
    # The copy's packages come before those of this run, none of which the interpreter has imported.
    inner_environment.syspath_prepend(pytester.path)

    def run(*suites: str) -> CompletedProcess[str]:
        return interpreters.run(
            "tests.harness.interpreter:run_pytest",
            *suites,
            "-x",
            "-q",
            environment=os.environ | {"TEST_DATABASE_URL": given.postgres.url()},
            directory=pytester.path,
            timeout=110,
        )

    yield run
    given.drop_kept()


@pytest.mark.parametrize(("path", "number"), find_commits())
def test_the_suite_notices(pytester: pytest.Pytester, run_suites: RunSuites, path: str, number: int) -> None:
    delete_commit(pytester.path / path, number)

    runs = (run_suites(*suites) for suites in SUITES)
    red = next((run for run in runs if run.returncode != pytest.ExitCode.OK), None)

    assert red is not None, "no test has noticed"
    assert red.returncode == pytest.ExitCode.TESTS_FAILED
    assert pytest.RunResult.parse_summary_nouns(red.stdout.splitlines())["failed"] == 1
