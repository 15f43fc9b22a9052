"""A register under fire: an item whose version must never be read older than the newest that was answered."""

import json
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from threading import Event, Lock, Thread

from tests.cache.fleet import Server, ask

PATHS = ("/items/1", "/items/1", "/items/")


@dataclass
class Register:
    """Readers and writers of item 1 on `servers`; `seen` counts answers by kind, `stale` tells of each old one."""

    servers: tuple[Server, ...]
    acknowledged: int = 1
    seen: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _over: Event = field(default_factory=Event)

    def start(self, *, readers: int, writers: int) -> list[Thread]:
        """Start the threads of the clients, spread over the servers."""
        jobs = [self._read] * readers + [self._write] * writers
        threads = [
            Thread(target=self._work, args=(job, self.servers[number % len(self.servers)]), daemon=True)
            for number, job in enumerate(jobs)
        ]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: list[Thread]) -> None:
        """End the clients."""
        self._over.set()
        for thread in threads:
            thread.join()

    def _work(self, job: object, server: Server) -> None:
        while not self._over.is_set():
            connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
            # A killed server is no answer; the next connection may find it again.
            with suppress(OSError, HTTPException):
                while not self._over.is_set():
                    job(connection)  # type: ignore[operator]
            connection.close()
            self._over.wait(0.05)

    def _read(self, connection: HTTPConnection) -> None:
        floor = self.acknowledged
        path = random.choice(PATHS)
        began = time.monotonic()
        status, body = ask(connection, "GET", path)
        took = time.monotonic() - began
        found = json.loads(body) if status == 200 else None
        version = (found[0] if isinstance(found, list) else found)["version"] if found else floor
        with self._lock:
            self.seen[f"read {status}"] += 1
            self.seen["slow read"] += took > 0.3
            if version < floor:
                self.stale.append(f"{path} on {connection.port}: version {version}, {floor} had been answered")

    def _write(self, connection: HTTPConnection) -> None:
        body = json.dumps({"name": f"{random.random()}", "price": 1})
        status, answer = ask(connection, "PUT", "/items/1", body)
        with self._lock:
            self.seen[f"write {status}"] += 1
            if status == 200:
                self.acknowledged = max(self.acknowledged, json.loads(answer)["version"])
        self._over.wait(random.random() / 20)
