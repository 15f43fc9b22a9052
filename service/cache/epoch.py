"""How long this process may believe the epoch that it read.

The epoch is part of every entry's stamp. A writer that could not fence moves it in its own transaction, and answers
only after TRUST_SECONDS: by then no process believes the old one.
"""

import time
from dataclasses import dataclass
from threading import Condition
from typing import Protocol

# P of the scheme: an epoch may be believed for this long after its reading began.
TRUST_SECONDS = 0.25
# With nobody listening at PostgreSQL's address nobody can commit: the last epoch holds on, but not for ever.
DOWN_TRUST_SECONDS = 30.0


class EpochSource(Protocol):
    """The system of record's counter of writes that may have missed Redis. It never returns to an old value."""

    def read(self) -> str:
        """The epoch now. ConnectionRefusedError when nobody can commit; OSError for any other failure."""

    def close(self) -> None:
        """Give back what `read` holds on to; `read` may be called again."""


@dataclass(frozen=True, slots=True)
class _Belief:
    epoch: str
    read_at: float
    until: float


class TrustedEpoch:
    """The epoch, as far as this process may believe it. One thread refreshes it, any number ask for it."""

    def __init__(self, source: EpochSource) -> None:
        self._source = source
        self._belief = _Belief("", 0, 0)
        self._changed = Condition()
        self._in_doubt = True

    def find(self) -> str | None:
        """The epoch to trust at this instant; None when it was read too long ago."""
        belief = self._belief
        return belief.epoch if time.monotonic() < belief.until else None

    def wait(self, seconds: float) -> str | None:
        """The epoch to trust, once it was read again; None after `seconds`, or when it cannot be read."""
        epoch = self.find()
        if epoch is None and not self._in_doubt:
            with self._changed:
                self._changed.wait_for(lambda: self._in_doubt or self.find() is not None, timeout=seconds)
            epoch = self.find()
        return epoch

    def refresh(self) -> None:
        """Read the epoch; for the one thread that does, and slow when the source is."""
        started = time.monotonic()
        try:
            self._believe(_Belief(self._source.read(), started, started + TRUST_SECONDS))
        except ConnectionRefusedError:
            self._hold_on(started)
        except OSError:
            self._doubt()

    def expect(self) -> None:
        """Let those who ask wait for the first reading: the thread that refreshes is about to begin."""
        self._in_doubt = False

    def close(self) -> None:
        """Believe nothing any more."""
        self._belief = _Belief("", 0, 0)
        self._doubt()
        self._source.close()

    def _hold_on(self, refused_at: float) -> None:
        """Extend a belief that has not lapsed, on the evidence that nobody could commit after `refused_at`.

        A write of just before is no danger: its writer answers only if the server outlived the wait (`Cache.settle`).
        """
        belief = self._belief
        if time.monotonic() < belief.until:
            until = min(refused_at + TRUST_SECONDS, belief.read_at + DOWN_TRUST_SECONDS)
            self._believe(_Belief(belief.epoch, belief.read_at, max(until, belief.until)))
        else:
            self._doubt()

    def _believe(self, belief: _Belief) -> None:
        with self._changed:
            self._belief = belief
            self._in_doubt = False
            self._changed.notify_all()

    def _doubt(self) -> None:
        with self._changed:
            self._in_doubt = True
            self._changed.notify_all()
