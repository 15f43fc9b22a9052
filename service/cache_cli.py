"""`service cache`: what the cache does, whether it tells the truth, and how to empty it."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.error import URLError
from urllib.request import urlopen

import typer
from prometheus_client.parser import text_string_to_metric_families

from service.cache.epoch import TRUST_SECONDS
from service.cache.fenced import make_stamp
from service.cache.scripts import entry_keys
from service.catalogue import Catalogue
from service.config import ConfigurationError
from service.database import EpochReader
from service.entries import ITEM_KEY_PREFIX, LIST_KEY
from service.redis_client import Client, ask, connection_for, run_id
from service.redis_cluster import LazyCluster
from service.standalone import opened_catalogue

app = typer.Typer(help="What the cache does, whether it tells the truth, and how to empty it.", no_args_is_help=True)

Addresses = Annotated[list[str] | None, typer.Argument(help="The /metrics address of each server.")]


@app.command()
def stats(addresses: Addresses = None) -> None:
    """Add up what the servers of the fleet have counted since they started."""
    counts: Counter[str] = Counter()
    for address in addresses or ["http://127.0.0.1:8000/metrics"]:
        counts.update(fetch_counts(address))  # a sum would drop what is 0
    reads = sum(number for name, number in counts.items() if name.startswith("reads "))
    hits = counts["reads hit"]
    typer.echo(
        f"hit ratio        {hits / reads:.1%} of {reads:,.0f} reads" if reads else "hit ratio        no reads yet"
    )
    for name, number in sorted(counts.items()):
        typer.echo(f"{name:<32} {number:>12,.0f}")


@app.command()
def clear() -> None:
    """Void every entry for every worker: move the epoch, and wait until nobody believes the old one."""
    with opened_catalogue() as (catalogue, _, _):
        catalogue.void_cache()
    typer.echo("Every entry is void.")


@app.command()
def check() -> None:
    """Compare every entry that readers would be answered with, with PostgreSQL; list the differences (exit code 1)."""
    with opened_catalogue() as (catalogue, client, epochs):
        audit = Audit(catalogue, client, epochs)
        wrong = list(audit.find_stale())
    if wrong:
        raise ConfigurationError([f"{key}: the entry is not what PostgreSQL holds" for key in wrong])
    typer.echo(f"{audit.compared:,} entries compared, all true; {audit.void:,} more are void.")


@dataclass
class Audit:
    """Compares entries with the truth, from outside: it trusts nothing that the workers say."""

    catalogue: Catalogue
    client: Client
    epochs: EpochReader
    compared: int = 0
    void: int = 0

    def find_stale(self) -> Iterator[str]:
        """The keys whose entries are trusted and untrue; counts as it goes."""
        for key in self._list_keys():
            entry = self._find_trusted(key)
            if entry is None:
                self.void += 1
                continue
            self.compared += 1
            if self.catalogue.find_payload(key) != entry and self._is_still(key, entry):
                yield key

    def _is_still(self, key: str, entry: bytes) -> bool:
        # A write between our two looks is no lie; after it, or after its epoch, the entry is not trusted any more.
        time.sleep(TRUST_SECONDS)
        return self._find_trusted(key) == entry and self.catalogue.find_payload(key) != entry

    def _list_keys(self) -> Iterator[str]:
        scanned = self.client.find() if isinstance(self.client, LazyCluster) else self.client
        for name in scanned.scan_iter(match=f"{ITEM_KEY_PREFIX}[0-9]*", count=1000):
            yield name.decode()
        if scanned.exists(LIST_KEY):
            yield LIST_KEY

    def _find_trusted(self, key: str) -> bytes | None:
        names = entry_keys(key)[:2]
        with connection_for(self.client, key) as connection:
            ((payload, stamp),) = ask(connection, ("MGET", *names))
            trusted = make_stamp(self.epochs.read(), run_id(connection))
        return cast("bytes | None", payload) if stamp == trusted else None


def fetch_counts(address: str) -> Counter[str]:
    """The cache's metrics at `address`, by name and outcome; raises ConfigurationError."""
    try:
        with urlopen(address, timeout=5) as answer:  # noqa: S310  # the operator names it
            text = answer.read().decode()
    except (URLError, ValueError) as error:
        raise ConfigurationError([f"{address}: {error}. Name the /metrics address of a running server."]) from error
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        if family.name.startswith("cache_"):
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    words = [family.name.removeprefix("cache_"), *(value for value in sample.labels.values() if value)]
                    counts[" ".join(words)] += sample.value  # type: ignore[assignment]
    return counts
