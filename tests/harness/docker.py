"""Docker compose for inner runs: no Docker is where these tests run, so that is a script; its servers are real."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from service.embedded import PostgresServer, RedisServer


@dataclass(frozen=True, slots=True)
class Docker:
    """A `docker` that answers as docker compose does, and notes what it was asked."""

    directory: Path
    compose_file: Path
    postgres: PostgresServer
    redis: RedisServer

    def asked(self) -> list[str]:
        """What it was asked to do, in order."""
        return [words.rpartition(" -p ")[2].partition(" ")[2] for words in self._log()]

    def projects(self) -> set[str]:
        """The names of the compose projects that it was asked about."""
        return {words.rpartition(" -p ")[2].partition(" ")[0] for words in self._log()}

    def _log(self) -> list[str]:
        log = self.directory / "docker.log"
        return log.read_text().splitlines() if log.exists() else []

    def says(self, configuration: object) -> None:
        """Have it say that this is in the compose file."""
        (self.directory / "config.json").write_text(json.dumps(configuration))

    def on_up(self, line: str) -> None:
        """Have it carry out a line of shell when the containers go up."""
        (self.directory / "on_up").write_text(line)


@pytest.fixture
def docker(bookshop: pytest.Pytester, inner_environment: pytest.MonkeyPatch) -> Iterator[Docker]:
    """The program `docker`, and a compose file that it can read."""
    folder = bookshop.mkdir("bin")
    compose_file = bookshop.mkdir("compose") / "compose.test.yaml"
    compose_file.write_text("services: {}")
    with PostgresServer.start(port=0) as postgres, RedisServer.start(port=0) as redis_server:
        docker = Docker(folder, compose_file, postgres, redis_server)
        docker.on_up("exit 0")
        with psycopg.connect(postgres.url()) as connection:
            connection.execute("CREATE ROLE shopkeeper SUPERUSER LOGIN")
        environment = {"POSTGRES_USER": "shopkeeper", "POSTGRES_PASSWORD": "p@ss/$$word"}
        docker.says({"services": {"postgres": {"environment": environment}, "redis": {}}})
        program = folder / "docker"
        program.write_text(
            f"""#!/bin/sh
            cd {folder}
            echo "$*" >> docker.log
            case "$*" in
                *" config "*) cat config.json ;;
                *" up "*) . ./on_up ;;
                *" port postgres 5432") echo 0.0.0.0:{postgres.port} ;;
                *" port redis 6379") echo 127.0.0.1:{redis_server.port} ;;
            esac
            """
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        inner_environment.setenv("PATH", str(folder), prepend=os.pathsep)
        yield docker
