"""The `service` command as a person or a deploy script runs it: a process in an empty directory."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from sqlalchemy import URL

from tests.waiting import wait_until

START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Running:
    """A command that has not ended, and the file that its output goes to."""

    process: subprocess.Popen[bytes]
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

    directory: Path
    environment: Mapping[str, str]
    running: list[Running] = field(default_factory=list)
    python: str = sys.executable

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `service` with `words` to its end."""
        return subprocess.run(
            [self.python, "-m", "service", *words],
            cwd=self.directory,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def paste(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line that was copied from somewhere, in a shell."""
        words = ["/bin/sh", "-c", line]
        return subprocess.run(
            words, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=True
        )

    def start(self, *words: str, **environment: str) -> Running:
        """Start `service` with `words`; it is killed after the test if it still runs."""
        output_file = self.directory / f"output-{len(self.running)}"
        with output_file.open("wb") as output:
            process = subprocess.Popen(
                [self.python, "-m", "service", *words],
                cwd=self.directory,
                env={**self.environment, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(Running(process, output_file))
        return self.running[-1]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which nothing is configured."""
    directory = tmp_path / "home"
    directory.mkdir()
    terminal = Terminal(directory, dict(os.environ))
    yield terminal
    for command in terminal.running:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


@pytest.fixture
def configured(terminal: Terminal, app_environment: dict[str, str]) -> Terminal:
    """A terminal whose DATABASE_URL and REDIS_URL name this test's servers, which are migrated and empty."""
    return Terminal(terminal.directory, {**terminal.environment, **app_environment}, terminal.running)


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
