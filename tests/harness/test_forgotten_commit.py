"""Deleting any one commit() of the item service turns its suite red."""

import ast
import shutil
from pathlib import Path

import pytest

from tests.harness.conftest import ROOT, GivenServers

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
    ignored = shutil.ignore_patterns("__pycache__", "harness", "benchmarks", "embedded")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            # The kit's servers are a part of the package; only their tests are left out.
            ignore = ignored if name == "tests" else shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy(source, target)


def test_the_service_commits() -> None:
    assert {path for path, _ in find_commits()} >= {"service/unit_of_work.py"}


@pytest.mark.parametrize(("path", "number"), find_commits())
def test_the_suite_notices(
    pytester: pytest.Pytester,
    inner_environment: pytest.MonkeyPatch,
    given: GivenServers,
    path: str,
    number: int,
) -> None:
    copy_project(pytester.path)
    inner_environment.setenv("PYTHONPATH", str(pytester.path))
    inner_environment.setenv("TEST_DATABASE_URL", given.postgres.url())
    delete_commit(pytester.path / path, number)

    runs = (pytester.runpytest_subprocess(*suites, "-x", "-q", timeout=110) for suites in SUITES)
    red = next((run for run in runs if run.ret != pytest.ExitCode.OK), None)

    assert red is not None, "no test has noticed"
    assert red.ret == pytest.ExitCode.TESTS_FAILED
    assert red.parseoutcomes()["failed"] == 1
