"""An application server as a program: it ends with the process that holds the other end of its standard input."""

import os
import pkgutil
import socket
import sys
import threading

import uvicorn


def _end_with_owner() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve the application that the first argument names on the listener that the second does, until SIGTERM."""
    factory, listener = sys.argv[1:]
    threading.Thread(target=_end_with_owner, daemon=True).start()
    application = pkgutil.resolve_name(factory)()
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="on"))
    server.run(sockets=[socket.socket(fileno=int(listener))])
