"""Load by wrk, a client in C: one in Python would measure itself."""

import os
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from tempfile import NamedTemporaryFile

CONNECTIONS = 16
SECONDS = 3
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured; `p99_ms` is the latency that 99 of 100 requests stayed under."""

    per_second: float
    p99_ms: float
    requests: int


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for again and again; a `%d` in the path goes from 1 to 100 in turn."""

    path: str
    method: str = "GET"
    body: str = ""


# A script of wrk's: the next request, each time.
SCRIPT = """
local n = 0
local headers = {["Content-Type"] = "application/json"}
request = function()
  n = n %% 100 + 1
  return wrk.format("%(method)s", (("%(path)s"):gsub("%%%%d", n)), headers, '%(body)s')
end
"""


def require_wrk() -> str:
    """The program; RuntimeError when there is none."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError(
            "The benchmarks need wrk, an HTTP load generator: `apt-get install wrk` or `brew install wrk`."
        )
    return program


def load(url: str, request: Request) -> Load:
    """Ask the server at `url` as fast as it answers, for SECONDS; AssertionError for any answer but 2xx and 3xx."""
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency"]
    with NamedTemporaryFile("w", suffix=".lua") as script:
        if request.method != "GET" or "%" in request.path:
            script.write(SCRIPT % asdict(request))
            script.flush()
            options += ["-s", script.name]
        command = [*last_core(), require_wrk(), *options, url + request.path]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in output, output
    number, unit = _find(r"99%\s+([\d.]+)(us|ms|s)", output)
    (rate,) = _find(r"Requests/sec:\s+([\d.]+)", output)
    (requests,) = _find(r"(\d+) requests in", output)
    return Load(float(rate), float(number) * _UNITS[unit], int(requests))


def first_core() -> list[str]:
    """What keeps a server on one core, where the system can."""
    return ["taskset", "-c", "0"] if shutil.which("taskset") else []


def last_core() -> list[str]:
    """What keeps the load off the server's core."""
    cores = os.cpu_count() or 1
    return ["taskset", "-c", str(cores - 1)] if shutil.which("taskset") and cores > 1 else []


def _find(pattern: str, output: str) -> tuple[str, ...]:
    found = re.search(pattern, output)
    assert found is not None, output
    return found.groups()
