"""What isolation costs, beside pytest-django on the same server. It needs `django` and `pytest-django`.

Each figure is the median over many tests of a test's set-up, call and teardown together, in a run of its own. Clone
tests are measured twice: one among twenty others, where a copy is ready, and back to back, where each needs what one
before it has used. The insert is flushed and not committed on our side: Django's `create` releases no savepoint either.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded import PostgresServer

ROOT = Path(__file__).parents[2]
BOOKSHOP = ROOT / "tests" / "harness" / "bookshop"
TESTS = 400
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "times", "-p", "no:randomly"]
# They are here for other tests, and take half a second to import; who uses the kit has not got them.
PYTEST += ["-p", "no:schemathesis", "-p", "no:hypothesispytest"]
KIT_OPTIONS = ["-p", "service.testing.plugin", "-p", "no:django", "-o", f"db_alembic_config={BOOKSHOP}/alembic.ini"]

TIMES = """
import json, os, time
from collections import defaultdict

times = defaultdict(float)

def pytest_runtest_logreport(report):
    if report.when == "call" and "STARTED" in os.environ:
        with open(os.environ["TIMES"], "w") as file:
            json.dump(time.time() - float(os.environ.pop("STARTED")), file)
    if os.environ["MEASURED"] in report.nodeid:
        times[report.nodeid] += report.duration
    assert not report.failed, report.longreprtext

def pytest_sessionfinish():
    if os.environ["MEASURED"] == "none":
        return
    # The first tests pay for what is made once.
    with open(os.environ["TIMES"], "w") as file:
        json.dump(list(times.values())[10:], file)
"""

KIT_TESTS = f"""
import pytest
from bookshop import Author

many = pytest.mark.parametrize("number", range({TESTS}))

def test_nothing():
    pass

@many
def test_empty(session, number):
    pass

@many
def test_insert(session, number):
    session.add(Author(name="Anonymous"))
    session.flush()

@many
@pytest.mark.db(isolation="clone")
def test_commit(session, number):
    session.add(Author(name="Anonymous"))
    session.commit()

"""

DJANGO_TESTS = f"""
import pytest
from shop.models import Author

many = pytest.mark.parametrize("number", range({TESTS}))

@many
def test_empty(db, number):
    pass

@many
def test_insert(db, number):
    Author.objects.create(name="Anonymous")

@many
@pytest.mark.django_db(transaction=True)
def test_commit(number):
    Author.objects.create(name="Anonymous")
"""

DJANGO_SETTINGS = """
INSTALLED_APPS = ["shop"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.postgresql", "USER": "postgres", "NAME": "shop", "HOST": "{host}"}}
}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
"""

DJANGO_MODELS = """
from django.db import models

class Author(models.Model):
    name = models.CharField(max_length=100)

class Book(models.Model):
    title = models.CharField(max_length=40, unique=True)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.start() as server:
        yield server


@pytest.fixture
def kit_project(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(KIT_TESTS)
    (tmp_path / "times.py").write_text(TIMES)
    return tmp_path


@pytest.fixture
def django_project(tmp_path_factory: pytest.TempPathFactory, server: PostgresServer) -> Path:
    pytest.importorskip("pytest_django")
    folder = tmp_path_factory.mktemp("django")
    (folder / "shop" / "migrations").mkdir(parents=True)
    for name, content in {
        "test_it.py": DJANGO_TESTS,
        "times.py": TIMES,
        "settings.py": DJANGO_SETTINGS.format(host=server.socket_directory),
        "shop/__init__.py": "",
        "shop/migrations/__init__.py": "",
        "shop/models.py": DJANGO_MODELS,
    }.items():
        (folder / name).write_text(content)
    subprocess.run(
        [sys.executable, "-m", "django", "makemigrations", "shop"], cwd=folder, env=environment(folder), check=True
    )
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(folder), str(ROOT), str(BOOKSHOP), os.environ.get("PYTHONPATH", "")])
    # Compiled modules are a cache too.
    unwanted = ("PYTEST_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {
        **kept,
        "PYTHONPATH": path,
        "DJANGO_SETTINGS_MODULE": "settings",
        "TIMES": str(folder / "times.json"),
        **more,
    }


def one_among_twenty(test: str) -> list[str]:
    """Node ids: a test of `test`, twenty with one insert, and so on."""
    return [
        f"test_it.py::{name}"
        for number in range(TESTS // 20)
        for name in (f"{test}[{number}]", *(f"test_insert[{20 * number + filler}]" for filler in range(20)))
    ]


def median_milliseconds(folder: Path, test: str, tests: list[str], *options: str, **more: str) -> float:
    """The median of `test` in a run of `tests`."""
    subprocess.run(
        [*PYTEST, "-p", "no:cacheprovider", *options, *tests],
        cwd=folder,
        env=environment(folder, MEASURED=f"::{test}", **more),
        check=True,
        capture_output=True,
        timeout=300,
    )
    seconds: list[float] = json.loads((folder / "times.json").read_text())
    return 1000 * statistics.median(seconds)


def measure(kit_project: Path, django_project: Path, server: PostgresServer, test: str, tests: list[str]) -> float:
    """Our median through theirs, each the best of three runs."""
    rounds = [
        (
            median_milliseconds(kit_project, test, tests, *KIT_OPTIONS, TEST_DATABASE_URL=server.url()),
            median_milliseconds(django_project, test, tests),
        )
        for _ in range(3)
    ]
    ours, theirs = (min(values) for values in zip(*rounds, strict=True))
    # The benchmark's answer.
    print(  # noqa: T201
        f"\n{test}, {len(tests)} ids: {ours:.3f} ms, pytest-django {theirs:.3f} ms, ratio {ours / theirs:.2f}"
    )
    ratio: float = ours / theirs
    return ratio


@pytest.mark.parametrize(("test", "bound"), [("test_empty", 0.5), ("test_insert", 1.0)])
def test_a_rollback_test(
    kit_project: Path, django_project: Path, server: PostgresServer, test: str, bound: float
) -> None:
    assert measure(kit_project, django_project, server, test, [f"test_it.py::{test}"]) <= bound


def test_a_clone_test_among_others(kit_project: Path, django_project: Path, server: PostgresServer) -> None:
    assert measure(kit_project, django_project, server, "test_commit", one_among_twenty("test_commit")) <= 0.5


def test_clone_tests_back_to_back(kit_project: Path, django_project: Path, server: PostgresServer) -> None:
    assert measure(kit_project, django_project, server, "test_commit", ["test_it.py::test_commit"]) <= 0.5


def test_what_isolation_itself_takes(kit_project: Path) -> None:
    """In milliseconds, as our own report has it: pytest-django publishes no such figures."""
    run = subprocess.run(
        [*PYTEST, *KIT_OPTIONS, "--db-report", *one_among_twenty("test_commit")],
        cwd=kit_project,
        env=environment(kit_project, MEASURED="none"),
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = {
        what: (float(median), float(p95))
        for what, median, p95 in re.findall(r"^(\w+: \w+): .* p50 (.+) ms, p95 (.+) ms,", run.stdout, re.MULTILINE)
    }

    for what, (median, p95) in report.items():
        print(f"\n{what}: p50 {median:.2f} ms, p95 {p95:.2f} ms")  # noqa: T201
    acquire_median, acquire_p95 = report["clone: acquire"]
    assert acquire_median <= 3
    assert acquire_p95 <= 25
    assert report["rollback: begin"][0] + report["rollback: end"][0] <= 1


@pytest.fixture
def empty_cache() -> Iterator[Path]:
    """A place for binaries and clusters that the account of the servers may enter."""
    path = Path(tempfile.mkdtemp(prefix="bench-cache-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def seconds_to_first_test(kit_project: Path, cache: Path, test: str) -> float:
    """From the start of pytest to the end of its first test, on embedded servers."""
    started = environment(kit_project, XDG_CACHE_HOME=str(cache), MEASURED="none", STARTED=str(time.time()))
    subprocess.run(
        [*PYTEST, *KIT_OPTIONS, f"test_it.py::{test}"], cwd=kit_project, env=started, check=True, capture_output=True
    )
    return float((kit_project / "times.json").read_text())


def test_the_first_test(kit_project: Path, empty_cache: Path) -> None:
    first_ever = seconds_to_first_test(kit_project, empty_cache, "test_insert[0]")
    alone, warm = (
        min(seconds_to_first_test(kit_project, empty_cache, test) for _ in range(5))
        for test in ("test_nothing", "test_insert[0]")
    )

    print(  # noqa: T201
        f"\nfirst test ever {first_ever:.2f} s, with warm caches {warm:.2f} s, one without a database {alone:.2f} s"
    )
    # What Python, pytest and the libraries take before is not ours.
    assert first_ever - alone <= 4
    assert warm - alone <= 1
