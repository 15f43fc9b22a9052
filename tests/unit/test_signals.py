"""Signals that come where Python cannot raise what they mean."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIGNALLED_IN_A_FINALIZER = """
import os, signal
from service.server import exit_on_signals

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10): pass

leave_if_asked = exit_on_signals(within_seconds=10)
Last()
print("went on")
leave_if_asked()
print("was not asked")
"""


@pytest.mark.slow
def test_a_signal_in_a_finalizer_is_heeded_later_and_printed_never() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_IN_A_FINALIZER], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (128 + 15, "went on\n", "")
