"""What a forked interpreter runs: pytest, or code that somebody has for `python -c`.

A fork server imports this, and with it what every run in the bookshop imports; but nothing of the kit and of the
bookshop, which are still to be found and loaded as by an interpreter that has just started.
"""

import importlib
import io
import os
import sys
from contextlib import redirect_stdout

import pytest

_LIBRARIES = "alembic.command", "factory", "fastapi.testclient", "psycopg", "redis", "requests", "sqlmodel", "uvicorn"

# Plugins can be imported by pytest alone: it rewrites their assertions, and refuses those that it comes too late for.
with redirect_stdout(io.StringIO()):
    pytest.main(["--version", "--version", "--noconftest", "-p", "no:schemathesis", "-c", os.devnull])
for _library in _LIBRARIES:
    importlib.import_module(_library)


def run_pytest() -> int:
    """`python -m pytest`."""
    return pytest.main()


def run_code() -> None:
    """`python -c`."""
    code = sys.argv.pop(1)
    exec(code, {"__name__": "__main__"})  # noqa: S102
