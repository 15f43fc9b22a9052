"""One load at a time per key and process, without handing anybody a value from before the question."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

Result = TypeVar("Result")


class _Flight(Generic[Result]):
    def __init__(self, before: "_Flight[Result] | None") -> None:
        self.before = before
        self.departed = False
        self.landed: Future[Result] = Future()


class SingleFlight(Generic[Result]):
    """Callers of the same key share one load, if it has not begun when they ask.

    A caller that joined a load already running could be given a value older than its own last write. So under any herd
    one load runs and one waits to follow it.
    """

    def __init__(self, *, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._flights: dict[str, _Flight[Result]] = {}
        self._lock = Lock()

    def fly(self, key: str, load: Callable[[], Result]) -> Result:
        """What `load` of some caller of `key` returns or raises, begun after this call."""
        with self._lock:
            found = self._flights.get(key)
            if found is not None and not found.departed:
                flight, leads = found, False
            else:
                flight, leads = _Flight(found), True
                self._flights[key] = flight
        return self._lead(key, flight, load) if leads else flight.landed.result()

    def _lead(self, key: str, flight: _Flight[Result], load: Callable[[], Result]) -> Result:
        if flight.before is not None:
            # What it brings is not for us; but after it the cache is full.
            with suppress(FutureTimeoutError):
                flight.before.landed.exception(self._patience_seconds)
            flight.before = None
        with self._lock:
            flight.departed = True
        try:
            result = load()
        except BaseException as error:
            flight.landed.set_exception(error)
            raise
        else:
            flight.landed.set_result(result)
            return result
        finally:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
