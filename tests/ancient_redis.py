"""A server that says that it is an old Redis. No wheel of one that Python 3.11 installs could be had as a real one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


@contextmanager
def ancient_redis(version: str) -> Iterator[str]:
    """The URL of a Redis of `version`, or of what says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_serve, args=(listener, version), daemon=True).start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, version: str) -> None:
    facts = f"redis_version:{version}\r\nrole:master\r\nloading:0\r\nrun_id:{'0' * 40}\r\n".encode()
    info = b"$%d\r\n%b\r\n" % (len(facts), facts)
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client, suppress(OSError):
                # One command at a time, as clients shake hands; whatever is not INFO is fine.
                while command := client.recv(4096):
                    client.sendall(info if b"INFO" in command else b"+OK\r\n")
