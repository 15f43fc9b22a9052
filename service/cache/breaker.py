"""Whether this process uses Redis: the first error ends that, and only the background thread begins it again."""

import logging
from collections.abc import Iterable
from threading import Lock

from service.cache.counts import Counts

log = logging.getLogger(__name__)


class Breaker:
    """Closed while Redis is in use. Open, it keeps the entries whose state the failed commands left unknown."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.is_open = False
        self._suspects: set[tuple[str, str]] = set()
        self._lock = Lock()

    def trip(self, error: Exception, suspects: Iterable[tuple[str, str]]) -> None:
        """Open, for `error`; `suspects` are the keys that it concerns, each with the token of its fence or ""."""
        with self._lock:
            was_open, self.is_open = self.is_open, True
            self._suspects.update(suspects)
        if not was_open:
            self._count(to="off")
            log.warning("cache.off", extra={"error": str(error)})

    def suspects(self) -> frozenset[tuple[str, str]]:
        """What has to be cleaned before Redis is used again: keys, each with a token."""
        with self._lock:
            return frozenset(self._suspects)

    def reset(self, cleaned: frozenset[tuple[str, str]]) -> None:
        """Close, if `cleaned` is all that was suspect."""
        with self._lock:
            self._suspects -= cleaned
            self.is_open = bool(self._suspects)
        if not self.is_open:
            self._count(to="on")
            log.info("cache.on")

    def _count(self, *, to: str) -> None:
        self._counts.breaker_changes.labels(to).inc()
        self._counts.breaker_open.set(to == "off")
