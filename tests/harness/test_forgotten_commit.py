"""Deleting any one commit() from the write paths of the item service turns its suite red."""

import ast
import shutil
from pathlib import Path

import pytest

from tests.harness.conftest import ROOT

# Writes are committed here and nowhere else.
UNIT_OF_WORK = Path("service/unit_of_work.py")
COPIED = ("service", "migrations", "tests", "pyproject.toml", "alembic.ini")


def commit_lines() -> list[int]:
    tree = ast.parse((ROOT / UNIT_OF_WORK).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return sorted(node.lineno for node in calls if ast.unparse(node.func).endswith(".commit"))


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


@pytest.mark.parametrize("line", commit_lines())
def test_the_suite_notices(pytester: pytest.Pytester, inner_environment: pytest.MonkeyPatch, line: int) -> None:
    copy_project(pytester.path)
    inner_environment.setenv("PYTHONPATH", str(pytester.path))
    module = pytester.path / UNIT_OF_WORK
    lines = module.read_text(encoding="utf-8").splitlines(keepends=True)
    indentation = lines[line - 1][: -len(lines[line - 1].lstrip())]
    lines[line - 1] = f"{indentation}pass\n"
    module.write_text("".join(lines), encoding="utf-8")

    suites = [name for name in ("tests/api", "tests/cache") if (pytester.path / name).is_dir()]
    result = pytester.runpytest_subprocess(*suites, "-x", "-q", timeout=110)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["failed"] == 1
