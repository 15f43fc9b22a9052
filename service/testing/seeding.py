"""The same random data for a test on any worker, in any order; and where factories store their objects."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from sqlmodel import Session


@dataclass(frozen=True, slots=True)
class Destination:
    """Where factories store; `commits` where the application has connections of its own."""

    open_session: Callable[[], Session]
    commits: bool


# A ContextVar and not a class attribute of the factories: it belongs to one test.
_destination: ContextVar[Destination | None] = ContextVar("destination", default=None)
# Factories whose sequences begin at 0 in every test.
factories: WeakSet[Any] = WeakSet()


@contextmanager
def storing(destination: Destination) -> Iterator[None]:
    """Let factories store there."""
    token = _destination.set(destination)
    try:
        yield
    finally:
        _destination.reset(token)


def destination() -> Destination:
    """Where factories store now; raises LookupError outside of a test with a database."""
    if (found := _destination.get()) is None:
        raise LookupError(
            "A factory can store objects only in a test that has a database: ask for the fixture `session`,"
            " or use build() in place of create()."
        )
    return found


def seed(subject: str) -> None:
    """Begin all random data, and the factories' sequences, anew from a hash of `subject`, such as a test's id."""
    number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8])
    random.seed(number)
    if factory_random := sys.modules.get("factory.random"):
        factory_random.reseed_random(number)
    for factory in factories:
        factory.reset_sequence(0, force=True)
