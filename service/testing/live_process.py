"""A script, not a module to import: an application server, which ends with the process that started it.

It imports what every FastAPI project needs, then waits for a line of JSON on standard input: what to serve and where.
So a process that was started early is ready quickly. The end of standard input is the end of the process.
"""

import json
import os
import pkgutil
import socket
import sys
import threading

import fastapi  # noqa: F401  # imported ahead of time
import sqlmodel  # noqa: F401
import uvicorn


def _end_with_owner() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Wait for the order, then serve until the owner closes the pipe or sends SIGTERM."""
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    threading.Thread(target=_end_with_owner, daemon=True).start()
    os.environ.update(order["environment"])
    sys.path[:0] = [path for path in order["path"] if path not in sys.path]
    application = pkgutil.resolve_name(order["factory"])()
    listener = socket.socket(fileno=order["listener"])
    uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="on")).run(sockets=[listener])


if __name__ == "__main__":
    main()
