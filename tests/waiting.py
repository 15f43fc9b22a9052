"""The one place where a test waits: for a condition, with a deadline."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    """Return as soon as `condition()` is true; TimeoutError if it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not true after {seconds:g} s")
        time.sleep(0.01)
