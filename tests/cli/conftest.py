"""The `service` command as a person or a deploy script runs it: a process in an empty directory.

Its imports would take most of the time of these tests, so that a fork server has done them. What happens before them
is tested by the few commands that are typed.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import requests
from sqlalchemy import URL

from service.testing.fork_server import ForkedProcess, ForkServer
from tests.waiting import wait_until

START_SECONDS = 60
COMMAND = "service.cli:main"


@dataclass(frozen=True, slots=True)
class Running:
    """A command that has not ended, and the file that its output goes to."""

    process: ForkedProcess | subprocess.Popen[bytes]
    output_file: Path

    @property
    def output(self) -> str:
        """What it has said so far, on both streams."""
        return self.output_file.read_text(encoding="utf-8")

    def await_output(self, text: str) -> None:
        """Wait until it has said `text`; fail if it ends first."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, seconds=START_SECONDS)
        assert text in self.output, self.output

    def answers(self, url: str) -> bool:
        """Whether `url` is answered with success."""
        assert self.process.poll() is None, self.output
        try:
            return requests.get(url, timeout=5).ok
        except requests.RequestException:
            return False

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 15) -> int:
        """Send a signal; the exit code, which has to come within `seconds`."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where commands are run: a directory without a `.env`, and the environment that they see."""

    fork_server: ForkServer
    directory: Path
    environment: Mapping[str, str]
    running: list[Running] = field(default_factory=list)
    python: str = sys.executable

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `service` with `words` to its end."""
        return self.fork_server.run(
            COMMAND,
            *words,
            environment={**self.environment, **environment},
            directory=self.directory,
            timeout=START_SECONDS,
        )

    def paste(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line that was copied from somewhere, in a shell."""
        words = ["/bin/sh", "-c", line]
        return subprocess.run(
            words, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=True
        )

    def start(self, *words: str, **environment: str) -> Running:
        """Start `service` with `words`; it is killed after the test if it still runs."""
        return self._keep(
            lambda output: self.fork_server.start(
                COMMAND,
                *words,
                environment={**self.environment, **environment},
                directory=self.directory,
                stdout=output,
                stderr=output,
                imports=["service.up"],
            )
        )

    def start_typed(self, *words: str) -> Running:
        """The same with an interpreter that has to import everything first."""
        command = [self.python, "-m", "service", *words]
        return self._keep(
            lambda output: subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdout=output, stderr=output
            )
        )

    def _keep(self, start: Callable[[int], ForkedProcess | subprocess.Popen[bytes]]) -> Running:
        output_file = self.directory / f"output-{len(self.running)}"
        with output_file.open("wb") as output:
            process = start(output.fileno())
        self.running.append(Running(process, output_file))
        return self.running[-1]


@pytest.fixture
def terminal(tmp_path: Path, fork_server: ForkServer) -> Iterator[Terminal]:
    """A terminal in which nothing is configured."""
    directory = tmp_path / "home"
    directory.mkdir()
    terminal = Terminal(fork_server, directory, dict(os.environ))
    yield terminal
    for command in terminal.running:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


@pytest.fixture
def configured(terminal: Terminal, app_environment: dict[str, str]) -> Terminal:
    """A terminal whose DATABASE_URL and REDIS_URL name this test's servers, which are migrated and empty."""
    return replace(terminal, environment={**terminal.environment, **app_environment})


def serve(terminal: Terminal, *words: str, **environment: str) -> tuple[Running, str]:
    """A server that answers, and its URL."""
    server = terminal.start("serve", "--port", "0", *words, **environment)
    server.await_output("server.starting")
    (started,) = [line for line in server.output.splitlines() if "server.starting" in line]
    # As both kinds of log write it: port=8000 and "port": 8000.
    url = "http://127.0.0.1:" + re.search(r'\bport(?:=|": )(\d+)', started)[1]  # type: ignore[index]
    wait_until(lambda: server.answers(f"{url}/health/ready"), seconds=START_SECONDS)
    return server, url


def processes() -> Iterator[tuple[int, int, str]]:
    """Every process of this machine: its id, its parent's, its command line."""
    columns = ["-o", "pid=", "-o", "ppid=", "-o", "args="]
    listing = subprocess.run(["ps", "-A", "-ww", *columns], capture_output=True, text=True, check=True)  # noqa: S607
    for line in listing.stdout.splitlines():
        pid, parent, *args = line.split(maxsplit=2)
        yield int(pid), int(parent), "".join(args)


def show(url: URL) -> str:
    """`url` in full, as an environment variable holds it."""
    return url.render_as_string(hide_password=False)


def workers_of(server: Running) -> set[int]:
    """The processes that serve: forks of one that the server has started, or interpreters of their own."""
    running = list(processes())
    started = {pid: args for pid, parent, args in running if parent == server.process.pid}
    forks = {pid for pid, parent, _ in running if "forkserver" in started.get(parent, "")}
    return forks | {pid for pid, args in started.items() if "spawn_main" in args}
