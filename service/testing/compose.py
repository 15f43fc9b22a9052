"""The servers of a docker compose file, for --services=compose."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from service.testing.errors import SetupError
from service.testing.reaper import Reaper

_START_SECONDS = 120
_ADVICE = "Correct that, or leave the option out: the tests then use embedded servers."


def up(compose_file: Path, *, name: str, reaper: Reaper) -> tuple[str, str]:
    """The URLs of the services `postgres` and `redis`, up and healthy until the run ends; raises SetupError.

    `name` is the compose project, so that two runs have containers of their own.
    """
    if shutil.which("docker") is None:
        raise SetupError(
            "--services=compose needs docker, and there is no program of that name on the PATH. Install Docker with its"
            " compose plugin, or leave the option out: the tests then use embedded servers."
        )
    if not compose_file.is_file():
        raise SetupError(
            f"--services=compose needs the file {compose_file}, and it does not exist. Write it, with services"
            " `postgres` and `redis`, or name another one by `db_compose_file` in the pytest configuration."
        )
    command = ["docker", "compose", "-f", str(compose_file), "-p", name]
    services: dict[str, Any] = json.loads(_run([*command, "config", "--format", "json"])).get("services") or {}
    if missing := sorted({"postgres", "redis"} - services.keys()):
        raise SetupError(f"--services=compose: {compose_file} has no service {' and no '.join(missing)}. {_ADVICE}")
    reaper.do_at_end([*command, "down", "--volumes", "--timeout", "0"])
    _run([*command, "up", "--detach", "--wait"], reaper.guard)
    environment = services["postgres"].get("environment") or {}
    host, port = _address(command, "postgres", 5432)
    redis_host, redis_port = _address(command, "redis", 6379)
    postgres_url = URL.create(
        "postgresql",
        _unescape(environment.get("POSTGRES_USER") or "postgres"),
        _unescape(environment.get("POSTGRES_PASSWORD") or ""),
        host,
        port,
        "postgres",
    )
    redis_url = URL.create("redis", host=redis_host, port=redis_port)
    return postgres_url.render_as_string(hide_password=False), str(redis_url)


def _unescape(value: str) -> str:
    # As it would have to be written in a compose file.
    return value.replace("$$", "$")


def _address(command: list[str], service: str, port: int) -> tuple[str, int]:
    said = _run([*command, "port", service, str(port)]).strip()
    host, _, published = said.rpartition(":")
    if not host or not published.isdecimal():
        raise SetupError(f"--services=compose: {service} publishes no port {port}; docker says {said!r}. {_ADVICE}")
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where it listens, not we
    return everywhere.get(host.strip("[]"), host.strip("[]")), int(published)


def _run(command: list[str], guard: Callable[[int | None], None] = lambda _: None) -> str:
    output = ""
    # The program that does the work is a child of `docker`: they are a group, to be killed as one. It begins with the
    # first line of its input: killed before that, we leave nothing behind that `guard` does not know.
    with subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        guard(process.pid)
        try:
            output, errors = process.communicate("\n", timeout=_START_SECONDS)
        except subprocess.TimeoutExpired:
            errors = f"no end after {_START_SECONDS} s"
        finally:
            if process.returncode is None:  # after Ctrl-C too
                os.killpg(process.pid, signal.SIGKILL)
            guard(None)
    if process.returncode == 0:
        return output
    problem = " ".join(errors.split()) or f"exit status {process.returncode}"
    raise SetupError(f"--services=compose: `{' '.join(command)}` failed: {problem}. {_ADVICE}")
