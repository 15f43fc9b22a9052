"""What the cache counts. One object per application; prometheus-client adds up the worker processes of a server."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Counts:
    """The cache's metrics in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reads = Counter(
            "cache_reads",
            "Reads of cached addresses: hit, stored (a miss), miss (not stored), bypass; with the reason",
            ["outcome", "reason"],
            registry=registry,
        )
        self.hits = self.reads.labels("hit", "")
        self.lease_waits = Counter(
            "cache_lease_waits", "Reads that waited for another process to fill an entry", registry=registry
        )
        self.fences = Counter(
            "cache_fences", "Fences: up, or failed, so that the epoch had to move", ["outcome"], registry=registry
        )
        self.epoch_bumps = Counter(
            "cache_epoch_bumps",
            "Writes that moved the epoch because they could not fence or unfence",
            registry=registry,
        )
        self.breaker_changes = Counter(
            "cache_breaker_changes",
            "Times that a process ceased (off) or began again (on) to use Redis",
            ["to"],
            registry=registry,
        )
        self.breaker_open = Gauge(
            "cache_breaker_open",
            "Processes that do without Redis now",
            registry=registry,
            multiprocess_mode="livesum",
        )
