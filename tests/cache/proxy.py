"""A TCP proxy that a test cuts, hangs, or points elsewhere: the network between one client and a server."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Self

CHUNK = 65_536


class Proxy:
    """Forwards connections on `port` to `target_port`, both on 127.0.0.1."""

    def __init__(self, target_port: int | None) -> None:
        self.target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        self._passing = Event()
        self._passing.set()
        self._is_cut = False
        Thread(target=self._accept, daemon=True).start()

    @classmethod
    @contextmanager
    def to(cls, target_port: int | None) -> Iterator[Self]:
        """A proxy that ends with the block."""
        proxy = cls(target_port)
        try:
            yield proxy
        finally:
            proxy.cut()
            proxy._listener.close()

    def cut(self) -> None:
        """End every connection, and every new one at once."""
        self._is_cut = True
        self._passing.set()
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        """Accept connections and bytes, and hand nothing on."""
        self._passing.clear()

    def heal(self) -> None:
        """Forward again, what was held back included."""
        self._is_cut = False
        self._passing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                self._passing.wait()
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            with self._lock:
                self._open.discard(end)
