"""A forked program is a process like any other."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.testing.errors import SetupError
from service.testing.fork_server import ForkedProcess, ForkServer

PROGRAMS = """
import atexit, os, sys, threading

FORK_SERVER = os.getpid()

def tell():
    print(os.environ["WORD"], os.getcwd(), sys.argv[1:], sys.stdin.read(), os.getsid(0) == os.getpid())

def leave():
    sys.exit(7)

def refuse():
    sys.exit("No.")

def fail():
    raise ValueError("broken")

def interrupt():
    raise KeyboardInterrupt

def end_slowly():
    atexit.register(print, "at the end")
    threading.Timer(0.1, print, ["from a thread"]).start()

def tell_the_fork_server():
    print(FORK_SERVER)

def wait():
    os.write(1, b"waiting")
    threading.Event().wait()
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]
RunModule = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer) -> Run:
    """Run one of the programs above."""
    (tmp_path / f"programs_{tmp_path.name}.py").write_text(PROGRAMS)
    monkeypatch.syspath_prepend(tmp_path)

    def run(program: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return fork_server.run(
            f"programs_{tmp_path.name}:{program}",
            *arguments,
            environment=environment,
            directory=tmp_path,
            timeout=30,
        )

    return run


def test_it_has_an_environment_a_directory_arguments_and_a_session_of_its_own(run: Run, tmp_path: Path) -> None:
    done = run("tell", "a", "b", WORD="word")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"word {tmp_path} ['a', 'b']  True\n", "")


@pytest.mark.parametrize(
    ("program", "status", "last_words"),
    [
        ("leave", 7, []),
        ("refuse", 1, ["No."]),
        ("fail", 1, ["ValueError: broken"]),
        ("interrupt", -signal.SIGINT, ["KeyboardInterrupt"]),
    ],
)
def test_it_ends_as_under_an_interpreter_of_its_own(run: Run, program: str, status: int, last_words: list[str]) -> None:
    done = run(program)

    assert (done.returncode, done.stderr.splitlines()[-1:]) == (status, last_words)


def test_its_threads_and_exit_functions_come_to_their_end(run: Run) -> None:
    assert run("end_slowly").stdout == "from a thread\nat the end\n"


def test_a_module_that_cannot_be_imported_is_told_by_the_process(fork_server: ForkServer, tmp_path: Path) -> None:
    done = fork_server.run("no_such_module:main", environment={}, directory=tmp_path, timeout=30)

    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr


@pytest.fixture
def run_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer) -> RunModule:
    """Run a program whose module is this code."""
    monkeypatch.syspath_prepend(tmp_path)

    def run_module(code: str, *, timeout: float = 30) -> "subprocess.CompletedProcess[str]":
        (tmp_path / f"module_{tmp_path.name}.py").write_text(code)
        return fork_server.run(f"module_{tmp_path.name}:main", environment={}, directory=tmp_path, timeout=timeout)

    return run_module


@pytest.mark.parametrize(
    ("code", "status", "last_words"),
    [
        ("import sys; sys.exit(3)", 3, []),
        ("import sys; sys.exit('No.')", 1, ["No."]),
        ("raise KeyboardInterrupt", -signal.SIGINT, ["KeyboardInterrupt"]),
        ("raise BaseException('base')", 1, ["BaseException: base"]),
    ],
)
def test_a_module_may_end_its_own_process_while_it_is_imported(
    run: Run, run_module: RunModule, code: str, status: int, last_words: list[str]
) -> None:
    done = run_module(code)

    assert (done.returncode, done.stderr.splitlines()[-1:]) == (status, last_words)
    assert run("leave").returncode == 7


def test_a_module_that_ends_the_fork_server_spoils_its_own_start_only(run: Run, run_module: RunModule) -> None:
    with pytest.raises(SetupError, match=r"ended instead of starting module_.*:main"):
        run_module("import os; os._exit(3)")

    assert run("leave").returncode == 7


def test_an_import_that_takes_too_long_is_ended_in_time(run: Run, run_module: RunModule) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_module("import threading; threading.Event().wait(20)", timeout=1)

    assert run("leave").returncode == 7


def test_imports_count_to_the_time_of_a_program(run_module: RunModule) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        run_module("import threading; main = threading.Event().wait; main(0.5)", timeout=2)

    assert expired.value.timeout < 2


def test_a_fork_server_that_was_killed_is_replaced(run: Run) -> None:
    killed = int(run("tell_the_fork_server").stdout)
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)

    assert int(run("tell_the_fork_server").stdout) != killed


@pytest.fixture
def waiting(run: Run, fork_server: ForkServer, tmp_path: Path) -> Iterator[ForkedProcess]:
    """A program that waits to be ended."""
    assert run("leave").returncode == 7
    read, write = os.pipe()
    process = fork_server.start(
        f"programs_{tmp_path.name}:wait", environment={}, directory=tmp_path, stdout=write, stderr=write
    )
    said = os.read(read, 100)
    os.close(read)
    os.close(write)
    yield process
    process.kill()
    process.wait()
    assert said == b"waiting"


def test_it_runs_until_a_signal_ends_it(waiting: ForkedProcess) -> None:
    assert waiting.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0)

    waiting.terminate()

    assert waiting.wait(10) == -signal.SIGTERM
    waiting.kill()
    assert waiting.poll() == -signal.SIGTERM


def test_it_can_be_interrupted(waiting: ForkedProcess) -> None:
    waiting.send_signal(signal.SIGINT)

    assert waiting.wait(10) == -signal.SIGINT


def test_a_process_that_was_killed_cannot_tell(waiting: ForkedProcess) -> None:
    waiting.kill()

    assert waiting.wait(10) == -signal.SIGKILL
