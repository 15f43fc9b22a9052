"""What isolation cost, for --db-report."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Any


@dataclass(slots=True)
class Report:
    """Milliseconds by what they were spent on, and the tests of each isolation level."""

    tests: Counter[str] = field(default_factory=Counter)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def measured(self, what: str) -> Iterator[None]:
        """Count the time of the context towards `what`."""
        started = perf_counter()
        try:
            yield
        finally:
            self.add(what, perf_counter() - started)

    def add(self, what: str, seconds: float) -> None:
        """Count `seconds` towards `what`."""
        self.milliseconds.setdefault(what, []).append(seconds * 1000)

    def pack(self) -> dict[str, Any]:
        """Plain values, for the controller."""
        return {"tests": dict(self.tests), "milliseconds": self.milliseconds}

    def merge(self, packed: dict[str, Any]) -> None:
        """Add what a worker has packed."""
        self.tests.update(packed["tests"])
        for what, values in packed["milliseconds"].items():
            self.milliseconds.setdefault(what, []).extend(values)

    def lines(self) -> Iterator[str]:
        """The report, line by line."""
        yield "tests: " + (", ".join(f"{count} {level}" for level, count in sorted(self.tests.items())) or "none")
        for what, values in sorted(self.milliseconds.items()):
            p50, p95 = (values[0], values[0]) if len(values) == 1 else _percentiles(values)
            yield f"{what}: {len(values)} x, p50 {p50:.2f} ms, p95 {p95:.2f} ms, total {sum(values):.0f} ms"


def _percentiles(values: list[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]
