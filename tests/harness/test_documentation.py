"""Every code block of docs/testing.md works."""

import re
import sys

import pytest

from tests.harness.conftest import ROOT, GivenServers, RunBookshop

CHAPTER = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", CHAPTER, flags=re.DOTALL | re.MULTILINE)


def test_the_examples_run_as_they_are_written(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    (configuration,) = blocks("toml")
    (bookshop.path / "pytest.ini").unlink()
    (bookshop.path / "pyproject.toml").write_text(configuration)
    examples = blocks("python")
    for number, example in enumerate(examples):
        (bookshop.path / f"test_example_{number}.py").write_text(example)

    # Plugins that are installed here, and are slow to import.
    result = run_bookshop("-n0", "--db-report", "-p", "no:schemathesis", "-p", "no:hypothesispytest")

    result.assert_outcomes(passed=sum(example.count("\ndef test_") for example in examples))


def test_the_first_example_needs_no_pytest_randomly(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    (configuration,) = blocks("toml")
    (bookshop.path / "pytest.ini").unlink()
    (bookshop.path / "pyproject.toml").write_text(configuration)
    (bookshop.path / "test_first_example.py").write_text(blocks("python")[0])

    result = run_bookshop(
        *("-n0", "-p", "no:randomly", "-p", "no:schemathesis", "-p", "no:hypothesispytest"), env=given.environment
    )

    result.assert_outcomes(passed=1)


def test_no_block_is_of_a_kind_that_nothing_runs() -> None:
    languages = re.findall(r"^```(\w+)$", CHAPTER, flags=re.MULTILINE)

    assert set(languages) == {"toml", "python", "sh"}
    assert blocks("sh") == ["pytest -n auto\n", "python -m service.testing doctor\n", "pytest --db-report\n"]


def test_the_commands_run_as_they_are_written(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile("def test_it(session): pass")

    for command in blocks("sh"):
        program, *arguments = command.split()
        if program == "pytest":
            run_bookshop(*arguments, env=given.environment).assert_outcomes(passed=1)
        else:
            # The interpreter of this run in place of whatever is first on the PATH.
            assert program == "python"
            assert bookshop.run(sys.executable, *arguments).ret == 0


def test_every_option_and_fixture_is_told_of() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "service" / "testing").glob("*.py"))
    options = set(re.findall(r'parser\.addini\(\s*"(\w+)"', source))
    fixtures = set(re.findall(r"@pytest\.fixture(?:\(.*\))?\ndef ([a-z]\w+)", source))

    assert {name for name in options | fixtures if f"`{name}`" not in CHAPTER} == set()
