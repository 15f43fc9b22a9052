"""How many tests the command line names, as far as that can be told without collecting them."""

import re
from collections.abc import Iterable
from pathlib import Path

_TEST = re.compile(r"^\s*(async )?def test", re.MULTILINE)
# Each of these makes many tests of one, or brings tests from elsewhere.
_MULTIPLIER = re.compile(r"parametrize|pytest_generate_tests|params=|class \w+\(\w|import \*")


def count_tests(arguments: Iterable[str], directory: Path) -> int | None:
    """The number of tests that pytest's arguments name; None when that takes a collection."""
    counts = [_count(argument, directory) for argument in arguments]
    return sum(count for count in counts if count) if counts and None not in counts else None


def _count(argument: str, directory: Path) -> int | None:
    file, _, test = argument.partition("::")
    path = directory / file
    if test.rpartition("::")[2].startswith("test") and "[" in test:
        return 1
    if path.suffix != ".py" or not path.is_file():
        return None
    source = path.read_text(encoding="utf-8", errors="replace")
    if _MULTIPLIER.search(source):
        return None
    return 1 if test.rpartition("::")[2].startswith("test") else len(_TEST.findall(source))
