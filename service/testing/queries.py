"""Counting queries, and telling where they come from."""

import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LIBRARIES = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), sysconfig.get_path("stdlib"), "<")
_LONGEST = 200
_KIT = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the line of the project that caused it."""

    statement: str
    call_site: str


def find_call_site() -> str:
    """The innermost `path:line` on the stack that is neither a library's nor the kit's."""
    frame = sys._getframe(1)  # noqa: SLF001  # traceback.extract_stack would read every source file
    while frame := frame.f_back:  # type: ignore[assignment]
        path = frame.f_code.co_filename
        if not path.startswith((*_LIBRARIES, _KIT)):
            return f"{path}:{frame.f_lineno}"
    return "an unknown place"


def describe(queries: Iterable[Query], root: Path) -> str:
    """The queries, the same one from the same line once with its count, in the order of their first appearance."""
    counted = Counter(queries)
    return "\n".join(
        f"  {count} x {shorten(query.statement)}\n      from {query.call_site.removeprefix(f'{root}/')}"
        for query, count in counted.items()
    )


def shorten(statement: str) -> str:
    """The statement on one line that is not too long to read."""
    text = " ".join(statement.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
