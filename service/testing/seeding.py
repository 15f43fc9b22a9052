"""The same random data for a test on any worker, in any order; and where factories store their objects."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
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
# Factories whose sequences begin anew in every test.
factories: WeakSet[Any] = WeakSet()
# By factory, the next number of its sequence.
Sequences = Mapping[Any, int]
NONE: Sequences = MappingProxyType({})


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


def seed(subject: str, sequences: Sequences = NONE) -> None:
    """Begin all random data anew from a hash of `subject`, such as a test's id, and the factories' sequences from 0.

    Those in `sequences` go on from there.
    """
    number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8])
    random.seed(number)
    if factory_random := sys.modules.get("factory.random"):
        factory_random.reseed_random(number)
    for factory in _factories_that_count():
        factory.reset_sequence(sequences.get(factory, 0))


def read_sequences() -> Sequences:
    """Where the factories' sequences go on; each leaves a number out by this."""
    return {factory: factory._meta.next_sequence() for factory in _factories_that_count()}  # noqa: SLF001  # its name for it


def _factories_that_count() -> set[Any]:
    """The factories without those that go on where the one counts that they derive from."""
    return {factory._meta.counter_reference.factory for factory in factories}  # noqa: SLF001
