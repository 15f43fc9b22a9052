"""Schemathesis holds the running service to its OpenAPI document, with every check it has and by following links."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.testing.live import LiveServer

# `tox run -e fuzz` takes longer, and other values each time; a usual run must not fail by chance.
SECONDS = int(os.environ.get("FUZZ_SECONDS", "10"))
SEED = [] if "FUZZ_SECONDS" in os.environ else ["--seed", "1"]
HERE = Path(__file__).parent
COMMAND = [
    str(Path(sys.executable).with_name("schemathesis")),
    *("--config-file", str(HERE / "schemathesis.toml"), "run"),
    *("--checks", "all", "--continue-on-failure", "--generation-database", "none", "--no-color"),
]


@pytest.mark.slow
@pytest.mark.db(isolation="clone")
@pytest.mark.timeout(SECONDS + 120)
def test_the_service_does_what_its_document_says(live_server: LiveServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, *SEED, "--max-time", str(SECONDS), f"{live_server.url}/openapi.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent), "SCHEMATHESIS_HOOKS": "tests.api.refusals"},
        capture_output=True,
        text=True,
        check=False,
    )

    print(done.stdout)  # noqa: T201  # for `pytest -rP`
    assert done.returncode == 0, done.stdout + done.stderr
