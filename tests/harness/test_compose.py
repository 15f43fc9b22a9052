"""--services=compose."""

from pathlib import Path

import pytest

from service.testing import compose
from tests.harness.conftest import NEEDS_DATABASE, RunBookshop, assert_refused
from tests.harness.docker import Docker
from tests.waiting import wait_until


def test_without_docker_it_is_told(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, inner_environment: pytest.MonkeyPatch
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    inner_environment.setenv("PATH", str(bookshop.mkdir("empty")))

    assert_refused(run_bookshop("-n0", "--services=compose"), "needs docker, and there is no program of that name")


def test_without_the_file_it_is_told(run_bookshop: RunBookshop, bookshop: pytest.Pytester, docker: Docker) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    docker.compose_file.unlink()

    assert_refused(run_bookshop("-n0", "--services=compose"), f"needs the file {docker.compose_file}")
    assert docker.asked() == []


def test_a_file_without_a_server_is_told(run_bookshop: RunBookshop, bookshop: pytest.Pytester, docker: Docker) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    docker.says({"services": {"postgres": {}}})

    assert_refused(run_bookshop("-n0", "--services=compose"), f"{docker.compose_file} has no service redis")
    assert docker.asked() == ["config --format json"]


def test_what_docker_says_is_told_and_everything_is_taken_down(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, docker: Docker
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    docker.on_up("echo no such image >&2; exit 1")

    assert_refused(run_bookshop("-n0", "--services=compose"), "no such image")
    assert docker.asked() == ["config --format json", "up --detach --wait", "down --volumes --timeout 0"]


def test_a_database_that_ends_with_its_container_is_not_called_kept(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, docker: Docker
) -> None:
    bookshop.makepyfile(
        """
        import pytest

        @pytest.mark.db(isolation="clone")
        def test_it(session):
            assert False
        """
    )

    result = run_bookshop("-n0", "--services=compose")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the database was not kept: its container ends with the run; *TEST_DATABASE_URL*"])
    assert docker.asked()[-1] == "down --volumes --timeout 0"


def test_containers_that_never_become_healthy_are_told(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    monkeypatch.setattr(compose, "_START_SECONDS", 1)
    docker.on_up("sleep 60 & echo $! > child; wait")

    assert_refused(run_bookshop("-n0", "--services=compose"), "no end after 1 s")
    child = Path("/proc", (docker.directory / "child").read_text().strip())
    wait_until(lambda: not child.exists(), seconds=3)
    assert docker.asked()[-1] == "down --volumes --timeout 0"


@pytest.mark.usefixtures("docker")
def test_databases_of_failed_tests_do_not_pile_up(run_bookshop: RunBookshop, bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from sqlalchemy import text
        from tests.waiting import wait_until

        @pytest.mark.db(isolation="clone")
        @pytest.mark.parametrize("number", range(8))
        def test_it(session, number):
            assert False

        def test_end(session):
            ours = text("SELECT count(*) FROM pg_database WHERE datname LIKE 't!_bookshop!_%' ESCAPE '!'")
            # One for rollback, and what is made ahead for clone tests.
            wait_until(lambda: session.execute(ours).scalar_one() <= 5, seconds=10)
        """
    )

    run_bookshop("-n0", "-pno:randomly", "--services=compose").assert_outcomes(failed=8, passed=1)


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_its_servers_are_used_and_taken_down(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, docker: Docker, workers: str
) -> None:
    bookshop.makepyfile(
        f"""
        def test_it(worker_database, redis_client):
            place = "shopkeeper:p%40ss%2F%24word@127.0.0.1:{docker.postgres.port}"
            assert place in worker_database.url
            assert redis_client.connection_pool.connection_kwargs["port"] == {docker.redis.port}
        """
    )

    result = run_bookshop(workers, "--services=compose")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*docker compose (--services=compose)*"])
    up_and_down = ["up --detach --wait", "port postgres 5432", "port redis 6379", "down --volumes --timeout 0"]
    assert docker.asked() == ["config --format json", *up_and_down]
    assert len(docker.projects()) == 1
