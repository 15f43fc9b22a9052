"""The same random data for a test on any worker, in any order; and where factories store their objects."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


class _State:
    # Not a ContextVar: a test's coroutines and threads may run in a context that is older than its database.
    destination: Destination | None = None


# A process runs one test at a time.
_state = _State()
# Factories whose sequences begin anew in every test.
factories: WeakSet[Any] = WeakSet()
# By factory, the next number of its sequence.
Sequences = Mapping[Any, int]
FROM_0: Sequences = MappingProxyType({})


@contextmanager
def storing(destination: Destination) -> Iterator[None]:
    """Let factories store there."""
    before, _state.destination = _state.destination, destination
    try:
        yield
    finally:
        _state.destination = before


def destination() -> Destination:
    """Where factories store now; raises LookupError outside of a test with a database."""
    if (found := _state.destination) is None:
        raise LookupError(
            "A factory can store objects only in a test that has a database: ask for the fixture `session`,"
            " or use build() in place of create()."
        )
    return found


def seed(subject: str, sequences: Sequences = FROM_0) -> None:
    """Begin all random data anew from a hash of `subject`, such as a test's id, and the factories' sequences from 0.

    Those in `sequences` go on from there.
    """
    number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8])
    random.seed(number)
    if factory_random := sys.modules.get("factory.random"):
        factory_random.reseed_random(number)
    _set(sequences)


def go_on(sequences: Sequences) -> None:
    """Let the factories' sequences go on from there, if they are not further already."""
    here = read_sequences()
    _set({factory: max(number, sequences.get(factory, 0)) for factory, number in here.items()})


def read_sequences() -> Sequences:
    """Where the factories' sequences go on. It draws these numbers: one of the others has to be called next."""
    return {factory: factory._meta.next_sequence() for factory in _factories_that_count()}  # noqa: SLF001  # its name for it


@contextmanager
def untouched() -> Iterator[None]:
    """Let random data and sequences go on afterwards as if there had been no context."""
    state, sequences = random.getstate(), read_sequences()
    factory_random = sys.modules.get("factory.random")
    factory_state = factory_random.get_random_state() if factory_random else None
    try:
        yield
    finally:
        random.setstate(state)
        if factory_random:
            factory_random.set_random_state(factory_state)
        _set(sequences)


def _set(sequences: Sequences) -> None:
    for factory in _factories_that_count():
        factory.reset_sequence(sequences.get(factory, 0))


def _factories_that_count() -> set[Any]:
    """The factories without those that go on where the one counts that they derive from."""
    return {factory._meta.counter_reference.factory for factory in factories}  # noqa: SLF001
