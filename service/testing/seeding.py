"""The same random data for a test on any worker, in any order; and where factories store their objects."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol
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


class Counter(Protocol):
    """A factory's sequence or iterator; None is where it begins."""

    position: int | None


# What begins anew in every test, and goes on after the data that is there.
counters: WeakSet[Counter] = WeakSet()
# Where those go on that have begun.
Sequences = Mapping[Counter, int]
ANEW: Sequences = MappingProxyType({})


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


def seed(subject: str, sequences: Sequences = ANEW) -> None:
    """Begin all random data anew from a hash of `subject`, such as a test's id, and the factories' counters.

    Those in `sequences` go on from there.
    """
    number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8])
    random.seed(number)
    if factory_random := sys.modules.get("factory.random"):
        factory_random.reseed_random(number)
    _set(sequences)


def go_on(sequences: Sequences) -> None:
    """Let the factories' sequences go on from there, if they are not further already."""
    for counter, position in sequences.items():
        counter.position = max(position, counter.position or 0)


def read_sequences() -> Sequences:
    """Where the factories' sequences go on."""
    return {counter: counter.position for counter in counters if counter.position is not None}


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
    for counter in counters:
        # To set an iterator takes longer than to look, and most have not moved since the last test.
        if counter.position != (position := sequences.get(counter)):
            counter.position = position
