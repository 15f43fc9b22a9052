"""How the command says what it takes, and what it was given wrongly."""

from importlib import metadata
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal


@pytest.mark.slow
@pytest.mark.parametrize("command", ["{python} -m service", "{folder}/service"])
def test_help_lists_every_command(terminal: Terminal, command: str) -> None:
    told = terminal.paste(command.format(python=terminal.python, folder=Path(terminal.python).parent) + " --help")

    assert told.returncode == 0
    assert all(word in told.stdout for word in ("up", "serve", "check", "seed", "expire", "import", "export", "cache"))


def test_the_version_is_told(terminal: Terminal) -> None:
    told = terminal.run("--version")

    assert (told.returncode, told.stdout) == (0, f"item-service {metadata.version('item-service')}\n")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["serve", "--port", "65536"],
        ["seed", "--items", "many"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_no_traceback(terminal: Terminal, words: list[str]) -> None:
    told = terminal.run(*words)

    assert told.returncode == 2
    assert "Usage:" in told.stderr + told.stdout
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("words", [["serve"], ["seed", "--items", "1"]], ids=" ".join)
def test_every_missing_setting_is_told_at_once(terminal: Terminal, words: list[str]) -> None:
    told = terminal.run(*words)

    assert told.returncode == 1
    assert "DATABASE_URL is not set" in told.stderr
    assert "REDIS_URL is not set" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("words", [["serve"], ["seed", "--items", "1"]], ids=" ".join)
def test_an_unreachable_database_is_named_without_its_password(terminal: Terminal, words: list[str]) -> None:
    told = terminal.run(*words, DATABASE_URL="postgresql://me:hunter2@127.0.0.1:1/items", REDIS_URL="redis://127.0.0.1")

    assert told.returncode == 1
    assert "DATABASE_URL=postgresql://me:***@127.0.0.1:1/items: connection failed" in told.stderr
    assert "hunter2" not in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("database_url", "redis_url"),
    [
        ("postgresql://me:hunter2@127.0.0.1:99999/items", "redis://127.0.0.1"),
        ("postgresql://me:hunter2@127.0.0.1/items?sslmode=perhaps", "redis://127.0.0.1"),
        ("postgresql://127.0.0.1/items", "redis://:hunter2@127.0.0.1/0?db=first"),
        ("postgresql://127.0.0.1/items", "redis://:hunter2@127.0.0.1/0?colour=red"),
    ],
)
def test_urls_that_a_driver_refuses_are_told(terminal: Terminal, database_url: str, redis_url: str) -> None:
    told = terminal.run("serve", DATABASE_URL=database_url, REDIS_URL=redis_url)

    assert told.returncode == 1
    assert told.stderr.count("_URL=") == 1
    assert ":***@127.0.0.1" in told.stderr
    assert "hunter2" not in told.stderr
    assert "Traceback" not in told.stderr
