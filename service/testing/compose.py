"""The servers of a docker compose file, for --services=compose."""

import json
import shutil
import subprocess
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
    services: dict[str, Any] = json.loads(_run([*command, "config", "--format", "json"], reaper))["services"]
    if missing := {"postgres", "redis"} - services.keys():
        raise SetupError(f"--services=compose: {compose_file} has no service {' and no '.join(missing)}. {_ADVICE}")
    reaper.do_at_end([*command, "down", "--volumes"])
    _run([*command, "up", "--detach", "--wait"], reaper)
    environment = services["postgres"].get("environment") or {}
    host, port = _address(command, "postgres", 5432, reaper).rsplit(":", 1)
    postgres_url = URL.create(
        "postgresql",
        environment.get("POSTGRES_USER") or "postgres",
        environment.get("POSTGRES_PASSWORD"),
        host,
        int(port),
        "postgres",
    )
    redis_address = _address(command, "redis", 6379, reaper)
    return postgres_url.render_as_string(hide_password=False), f"redis://{redis_address}"


def _address(command: list[str], service: str, port: int, reaper: Reaper) -> str:
    address = _run([*command, "port", service, str(port)], reaper).strip()
    return address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104  # replaced


def _run(command: list[str], reaper: Reaper) -> str:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # Or it would go on to start containers while the reaper stops them.
        reaper.watch(process.pid)
        output = ""
        try:
            output, errors = process.communicate(timeout=_START_SECONDS)
        except subprocess.TimeoutExpired:
            errors = f"no end after {_START_SECONDS} s"
        finally:
            process.kill()
    if process.returncode == 0:
        return output
    problem = " ".join(errors.split()) or f"exit status {process.returncode}"
    raise SetupError(f"--services=compose: `{' '.join(command)}` failed: {problem}. {_ADVICE}")
