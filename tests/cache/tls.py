"""TLS in front of a real server that speaks none: certificates, and a proxy that takes them off."""

import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread

import trustme

CHUNK = 65_536
HANDSHAKE = b"\x16"  # the first byte of a TLS connection, and of no Redis command


class Authority:
    """Who signs certificates; `path` is the file that clients trust it by."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.path = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.path))

    def context(self, host: str = "127.0.0.1") -> ssl.SSLContext:
        """How a server proves to be `host`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        return context


@contextmanager
def tls_front(context: ssl.SSLContext, target_port: Callable[[], int]) -> Iterator[int]:
    """The port of a proxy to `target_port()`: TLS is taken off; what comes without it, as sentinels do, passes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_accept, args=(listener, context, target_port), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, target_port: Callable[[], int]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            Thread(target=_forward, args=(client, context, target_port), daemon=True).start()


def _forward(client: socket.socket, context: ssl.SSLContext, target_port: Callable[[], int]) -> None:
    # Whoever hangs up, or does not trust us, is no concern of ours.
    with suppress(OSError), ExitStack() as closing:
        closing.enter_context(client)
        if client.recv(1, socket.MSG_PEEK) == HANDSHAKE:
            client = closing.enter_context(context.wrap_socket(client, server_side=True))
        server = closing.enter_context(socket.create_connection(("127.0.0.1", target_port())))
        while all(_relay(source, {client: server, server: client}[source]) for source in _readable(client, server)):
            pass


def _readable(client: socket.socket, server: socket.socket) -> list[socket.socket]:
    if isinstance(client, ssl.SSLSocket) and client.pending():
        return [client]
    return select.select([client, server], [], [])[0]


def _relay(source: socket.socket, sink: socket.socket) -> bool:
    chunk = source.recv(CHUNK)
    sink.sendall(chunk)
    return bool(chunk)
