"""The servers of a docker compose file, for --services=compose."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.testing.errors import SetupError

_START_SECONDS = 120
_STOP_SECONDS = 60


@contextmanager
def up(compose_file: Path, *, name: str) -> Iterator[tuple[str, str]]:
    """The URLs of the services `postgres` and `redis`, up and healthy until the context ends; raises SetupError.

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
    try:
        _run([*command, "up", "--detach", "--wait"])
        yield _postgres_url(command), f"redis://{_address(command, 'redis', 6379)}"
    finally:
        subprocess.run([*command, "down", "--volumes"], capture_output=True, timeout=_STOP_SECONDS, check=False)


def _postgres_url(command: list[str]) -> str:
    services: dict[str, Any] = json.loads(_run([*command, "config", "--format", "json"]))["services"]
    environment = services["postgres"].get("environment", {})
    user = environment.get("POSTGRES_USER", "postgres")
    password = environment.get("POSTGRES_PASSWORD", "")
    return f"postgresql://{user}:{password}@{_address(command, 'postgres', 5432)}/postgres"


def _address(command: list[str], service: str, port: int) -> str:
    return _run([*command, "port", service, str(port)]).strip().replace("0.0.0.0", "127.0.0.1")  # noqa: S104  # replaced


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        problem = " ".join(error.stderr.split()) or f"exit status {error.returncode}"
    except subprocess.TimeoutExpired:
        problem = f"no end after {_START_SECONDS} s"
    else:
        return done.stdout
    raise SetupError(
        f"--services=compose: `{' '.join(command)}` failed: {problem}. Correct that, or leave the option out: the tests"
        " then use embedded servers."
    )
