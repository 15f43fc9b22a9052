"""A PostgreSQL with a data directory: what is kept, and what is refused without a trace."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from service.embedded import EmbeddedError, PostgresServer, startup
from tests.embedded.owner_process import eventually, uid_of

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.embedded.owner_process import Owner

KEEPER = """
import psycopg
server = PostgresServer.start(data_directory=Path(os.environ["DATA"]))
with psycopg.connect(server.url(), autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
    connection.execute("INSERT INTO kept VALUES (42)")
say(server.pid)
wait_for_the_end()
"""
STARTING = 'PostgresServer.start(data_directory=Path(os.environ["DATA"])); wait_for_the_end()'
FAILING = """
try:
    PostgresServer.start(data_directory=Path(os.environ["DATA"]))
except EmbeddedError as error:
    say(error)
    sys.exit(1)
"""
# A fresh cluster needs a file of 16 MB, which this limit refuses as a full disk would.
LIMITED = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n" + FAILING


def ask(server: PostgresServer, query: str) -> object:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet; for root below one that only root may enter."""
    return tmp_path / "with space, comma & ü" / "postgres"


@pytest.fixture
def cluster(data: Path) -> Path:
    """A cluster that no server is using."""
    PostgresServer.start(data_directory=data).stop()
    return data


def test_data_survives_a_restart(data: Path) -> None:
    with PostgresServer.start(data_directory=data) as server:
        ask(server, "CREATE TABLE kept AS SELECT 42")

    with PostgresServer.start(data_directory=data) as server:
        assert ask(server, "TABLE kept") == 42


def test_data_survives_the_owners_death_and_the_shutdown_is_clean(owner: Callable[..., Owner], data: Path) -> None:
    keeper = owner(KEEPER, DATA=str(data))
    keeper.hear()

    keeper.kill()

    with PostgresServer.start(data_directory=data) as server:
        assert ask(server, "TABLE kept") == 42
    assert "was not properly shut down" not in (data / "server.log").read_text()


def test_an_owner_killed_while_its_cluster_is_made_leaves_none_or_all_of_it(
    owner: Callable[..., Owner], data: Path
) -> None:
    data.parent.mkdir()
    for milliseconds in (20, 80, 140, 200, 300):
        starting = owner(STARTING, DATA=str(data))
        with pytest.raises(subprocess.TimeoutExpired):
            starting.process.wait(milliseconds / 1000)
        starting.kill()

        assert names(data.parent) in ([], ["postgres"])
        assert not data.exists() or (data / "PG_VERSION").exists()

    with PostgresServer.start(data_directory=data) as server:
        assert ask(server, "SELECT 1") == 1


def test_its_settings_suit_data_that_matters(data: Path) -> None:
    with PostgresServer.start(data_directory=data) as server:
        settings = [ask(server, f"SHOW {name}") for name in ("fsync", "full_page_writes", "autovacuum")]

    assert settings == ["on", "on", "on"]


def test_it_never_runs_as_root(data: Path) -> None:
    with PostgresServer.start(data_directory=data) as server:
        assert uid_of(server.pid) != 0
        assert data.stat().st_uid == uid_of(server.pid)


def test_it_changes_no_directory_above_its_own(data: Path) -> None:
    data.parent.mkdir(mode=0o700)
    before = [(path.stat().st_uid, path.stat().st_mode) for path in data.parents]

    with PostgresServer.start(data_directory=data):
        pass

    assert [(path.stat().st_uid, path.stat().st_mode) for path in data.parents] == before
    assert names(data.parent) == ["postgres"]


def test_an_empty_directory_is_taken(data: Path) -> None:
    data.mkdir(parents=True)

    with PostgresServer.start(data_directory=data) as server:
        assert ask(server, "SELECT 1") == 1


def test_a_relative_directory_means_one_below_the_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with PostgresServer.start(data_directory=Path("here")) as server:
        assert server.data_directory == tmp_path / "here"


def test_a_second_server_is_refused_naming_the_first(cluster: Path) -> None:
    with PostgresServer.start(data_directory=cluster) as first:
        with pytest.raises(EmbeddedError, match=f"in use .* process id {first.pid}"):
            PostgresServer.start(data_directory=cluster)

        assert ask(first, "SELECT 1") == 1


def test_a_server_that_has_not_said_yet_which_process_it_is_is_waited_for(cluster: Path) -> None:
    lock, log = cluster / "postmaster.pid", cluster / "server.log"
    lock.touch()

    def name() -> None:
        eventually(lambda: '"postmaster.pid" is empty' in log.read_text(), seconds=20)
        lock.write_text("4711\n")

    with ThreadPoolExecutor() as thread:
        naming = thread.submit(name)
        with pytest.raises(EmbeddedError, match=r"in use .* process id 4711"):
            PostgresServer.start(data_directory=cluster)
        naming.result()


def test_of_many_first_starts_at_once_one_gets_the_directory(owner: Callable[..., Owner], data: Path) -> None:
    script = "try:" + KEEPER.replace("\n", "\n    ") + "\nexcept EmbeddedError as error: say(error)"
    contenders = [owner(script, DATA=str(data)) for _ in range(4)]

    winner, *losers = sorted(contender.hear() for contender in contenders)

    assert winner.isdigit()
    assert all(f"in use by the PostgreSQL server with process id {winner}" in loser for loser in losers)


def test_a_cluster_of_another_version_is_refused(cluster: Path) -> None:
    (cluster / "PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedError, match="made by PostgreSQL 12, and this one is PostgreSQL 18"):
        PostgresServer.start(data_directory=cluster)


def test_a_directory_with_other_files_is_refused_and_kept(data: Path) -> None:
    data.mkdir(parents=True)
    (data / "thesis.tex").write_text("precious")

    with pytest.raises(EmbeddedError, match="holds other files"):
        PostgresServer.start(data_directory=data)

    assert names(data) == ["thesis.tex"]
    assert names(data.parent) == ["postgres"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="not a directory"):
        PostgresServer.start(data_directory=tmp_path / "file")


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="file"):
        PostgresServer.start(data_directory=tmp_path / "file" / "postgres")


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    with pytest.raises(EmbeddedError, match="not a directory"):
        PostgresServer.start(data_directory=tmp_path / "link")


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    foreign = Path("/etc")
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        (foreign / "PG_VERSION").write_text("18\n")
        os.chown(foreign, 54321, 54321)

    with pytest.raises(EmbeddedError, match=f"belongs to the user with id {foreign.stat().st_uid}"):
        PostgresServer.start(data_directory=foreign)


def test_a_place_where_nothing_can_be_made_is_refused() -> None:
    with pytest.raises(EmbeddedError, match="/proc"):
        PostgresServer.start(data_directory=Path("/proc/item-service/postgres"))


def test_a_cluster_that_cannot_be_written_is_refused(cluster: Path) -> None:
    cluster.chmod(0o500)
    try:
        with pytest.raises(EmbeddedError, match="Permission denied"):
            PostgresServer.start(data_directory=cluster)
    finally:
        cluster.chmod(0o700)


def test_a_full_disk_leaves_no_half_made_cluster(owner: Callable[..., Owner], data: Path) -> None:
    said, status = owner(LIMITED, DATA=str(data)).end()

    assert status == 1
    assert "File size limit exceeded" in said
    assert names(data.parent) == []


def test_a_full_disk_leaves_no_half_made_template(
    owner: Callable[..., Owner], open_directory: Path, tmp_path: Path
) -> None:
    home = open_directory / "item-service"

    said, status = owner(LIMITED, DATA=str(tmp_path / "data"), XDG_CACHE_HOME=str(open_directory)).end()

    assert (status, "Check the free space" in said or "could not be started" in said) == (1, True)
    assert not [path for path in home.iterdir() if path.name.startswith(".") or "cluster" in path.name]


def test_a_server_that_never_gets_ready_is_given_up(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "DEADLINE_SECONDS", 1.0)
    (cluster / "standby.signal").touch()

    with pytest.raises(EmbeddedError, match=r"was not ready after 1 s"):
        PostgresServer.start(data_directory=cluster, extra_settings={"hot_standby": "off"})

    assert not (cluster / "postmaster.pid").exists()
