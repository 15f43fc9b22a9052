"""The databases behind `db_data`: a layer for each source on what it stands on, built once and then only copied.

Tests that ask for more of the same data share its lowest layers; so what a source of scope "session" stores is built
once, whatever the modules put on top of it. No test sees a layer that it has not asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from service.testing.data import Source, Values, find_sources, present_all
from service.testing.listeners import unwatched
from service.testing.report import Report
from service.testing.seeding import Destination, Sequences, go_on, read_sequences, seed, storing, untouched
from service.testing.worker import Database, EngineFactory, Worker

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Layer:
    """A sealed database with the data of some sources, what they returned, and the module whose tests alone need it."""

    template: str
    values: Values
    sequences: Sequences
    module: str | None


# What the migrations have made, and every database is a copy of unless told.
_BOTTOM = Layer(template="", values={}, sequences={}, module=None)


class DataLayers:
    """The layers of one worker."""

    def __init__(self, worker: Callable[[], Worker], report: Report) -> None:
        self._worker = worker
        self._report = report
        self._layers: dict[tuple[Source, ...], Layer] = {}
        self._databases: dict[str, Database] = {}
        # As with pytest's own fixtures: what has failed is not tried again.
        self._failures: dict[tuple[Source, ...], tuple[Exception, TracebackType | None]] = {}

    def find(self, item: pytest.Item, make_engine: EngineFactory) -> Layer | None:
        """The layer with all the data that a test asks for, None if it asks for none; raises what building raises."""
        __tracebackhide__ = True
        key: tuple[Source, ...] = ()
        layer = _BOTTOM
        for source, needs in find_sources(item).items():
            key += (source,)
            if key in self._failures:
                error, traceback = self._failures[key]
                raise error.with_traceback(traceback)
            if key not in self._layers:
                with self._report.measured("db_data: build"), unwatched(), untouched():
                    self._layers[key] = self._build(key, needs, layer, make_engine, module_of(item))
            layer = self._layers[key]
        if not key:
            return None
        # What is there already has the first numbers.
        go_on(layer.sequences)
        return layer

    def _build(
        self, key: tuple[Source, ...], needs: dict[str, Source], below: Layer, make_engine: EngineFactory, module: str
    ) -> Layer:
        __tracebackhide__ = True
        source, worker = key[-1], self._worker()
        name = worker.databases.copy(below.template)
        with ExitStack() as undo:
            undo.callback(worker.stock.discard, name)
            engine = make_engine(worker.database(name).url)
            with disposing(engine), Session(engine, expire_on_commit=False) as session:
                values = dict(present_all(below.values, session))
                arguments = {name: values[other] for name, other in needs.items()}
                if source.asks_for_session:
                    arguments["session"] = session
                seed(source.key, below.sequences)
                with storing(Destination(lambda: session, commits=False)):
                    try:
                        values[source] = source.build(**arguments)
                    except Exception as error:  # whatever the project's function raises
                        self._failures[key] = error, error.__traceback__
                        raise
                sequences = read_sequences()
                session.commit()
            worker.databases.seal(name)
            undo.pop_all()
        return Layer(name, values, sequences, module if source.scope == "module" else None)

    def database(self, layer: Layer) -> Database:
        """The copy of a layer that rollback tests use."""
        if layer.template not in self._databases:
            worker = self._worker()
            with self._report.measured("db_data: copy"):
                self._databases[layer.template] = worker.database(worker.databases.copy(layer.template))
        return self._databases[layer.template]

    def replace(self, database: Database) -> None:
        """Have that copy made anew: a test has left something in it."""
        for template, copied in list(self._databases.items()):
            if copied == database:
                self._worker().forget(self._databases.pop(template))

    def leave(self, module: str) -> None:
        """Drop what only the tests of a module could ask for."""
        for key in [key for key in self._failures if any(source.scope == "module" for source in key)]:
            del self._failures[key]
        for key, layer in list(self._layers.items()):
            if layer.module == module:
                del self._layers[key]
                if database := self._databases.pop(layer.template, None):
                    self._worker().forget(database)
                self._worker().stock.discard(layer.template)


@contextmanager
def disposing(engine: Engine) -> Iterator[None]:
    """Let nobody be connected any more afterwards, for a database that somebody is in cannot be copied."""
    try:
        yield
    finally:
        engine.dispose()


def module_of(item: pytest.Item) -> str:
    """The module of a test, as its node id has it."""
    return item.nodeid.partition("::")[0]
