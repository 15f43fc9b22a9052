"""The template database: once per state of the migrations, and what is said when there can be none."""

import builtins
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import service.testing.templates
from service.testing.configuration import Project
from service.testing.errors import SetupError
from service.testing.lease import Template
from service.testing.ownership import Admin, Owner, connect_admin, create_database, drop_database, list_owned
from service.testing.servers import Servers
from service.testing.templates import digest_migrations, ensure_template
from tests.harness.conftest import NEEDS_DATABASE, GivenServers, RunBookshop, assert_refused

ENV = """
from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""

# As an env.py does that imports the application's engine.
LEAVE_OPEN = """
import psycopg

handed_over = context.config.attributes["connection"].connection.driver_connection
left_open.append(psycopg.connect(handed_over.info.dsn))
"""

MIGRATION = """
from alembic import op

revision = {revision!r}
down_revision = {down_revision!r}


def upgrade() -> None:
    op.execute("CREATE TABLE t{revision} (id int)")
    {more}
"""

MakeTemplate = Callable[[], Template]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n")
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(ENV)
    add_migration(tmp_path, "1", None)
    return Project(
        name=f"p{secrets.token_hex(4)}",
        root=tmp_path,
        alembic_config=tmp_path / "alembic.ini",
        app_factory=None,
        session_factory="",
        environment={},
    )


def add_migration(root: Path, revision: str, down_revision: str | None, more: str = "pass") -> Path:
    path = root / "migrations" / "versions" / f"r{revision}.py"
    path.write_text(MIGRATION.format(revision=revision, down_revision=down_revision, more=more))
    return path


@pytest.fixture
def admin(given: GivenServers) -> Iterator[Admin]:
    with connect_admin(given.postgres.url()) as admin:
        yield admin


@pytest.fixture
def make_template(given: GivenServers, project: Project) -> MakeTemplate:
    """What each run does at its beginning."""
    url = given.postgres.url()
    servers = Servers(postgres_url=url, redis_url=None, bin_directory=None, directory=None, outlive_the_run=True)

    def make() -> Template:
        with connect_admin(url) as admin:
            return ensure_template(admin, servers, project, Owner(project.name, secrets.token_hex(6), "run"))

    return make


def test_an_edit_of_the_configuration_makes_a_template(make_template: MakeTemplate, project: Project) -> None:
    before = make_template()
    with (project.root / "alembic.ini").open("a") as configuration:
        configuration.write("schema = shop\n")

    assert make_template().name != before.name


def test_another_version_of_the_server_has_another_template(project: Project) -> None:
    assert digest_migrations(project, 17_00_05, "ada") != digest_migrations(project, 18_00_00, "ada")


@pytest.fixture
def another_template(given: GivenServers) -> Iterator[str]:
    """A template of another project, older than ours."""
    name = f"tpl_{secrets.token_hex(8)}"
    create_database(given.admin, name, Owner("another", "0", "run").record(), template="template0", strategy=None)
    yield name
    drop_database(given.admin, name)


def templates(admin: Admin, project: Project) -> set[str]:
    query = "SELECT datname FROM pg_database WHERE datistemplate AND shobj_description(oid, 'pg_database') LIKE %s"
    return {name for (name,) in admin.execute(query, [f'%"{project.name}"%']).fetchall()}


def test_the_same_migrations_have_one_template(make_template: MakeTemplate) -> None:
    built, found = make_template(), make_template()

    assert built.build_ms is not None
    assert (found.name, found.build_ms) == (built.name, None)


def test_of_eight_builders_at_once_one_builds(make_template: MakeTemplate) -> None:
    with ThreadPoolExecutor(8) as threads:
        templates = [built.result() for built in [threads.submit(make_template) for _ in range(8)]]

    assert len({template.name for template in templates}) == 1
    assert sum(template.build_ms is not None for template in templates) == 1


def test_an_edit_makes_a_template_and_its_undoing_finds_the_old_one(
    make_template: MakeTemplate, project: Project
) -> None:
    before = make_template()
    edited = add_migration(project.root, "2", "1")
    after = make_template()
    edited.unlink()

    assert after.name != before.name
    assert make_template() == Template(before.name, before.strategy, None)


def test_an_edit_of_a_file_that_a_migration_reads_makes_a_template(
    make_template: MakeTemplate, project: Project
) -> None:
    source = project.root / "migrations" / "versions" / "r2.sql"
    source.write_text("SELECT 1")
    add_migration(project.root, "2", "1", f"import pathlib; op.execute(pathlib.Path({str(source)!r}).read_text())")
    before = make_template()
    for junk in ("__pycache__/r2.pyc", ".r2.sql.swp", "r2.sql~"):
        (source.parent / junk).parent.mkdir(exist_ok=True)
        (source.parent / junk).touch()
    untouched = make_template()
    source.write_text("SELECT 2")

    assert untouched.name == before.name
    assert make_template().name != before.name


def test_the_three_newest_templates_of_a_project_are_kept(
    make_template: MakeTemplate, project: Project, admin: Admin, another_template: str
) -> None:
    names = [make_template().name]
    for revision in range(2, 6):
        add_migration(project.root, str(revision), str(revision - 1))
        names.append(make_template().name)

    assert templates(admin, project) == set(names[-3:])
    assert another_template in {database.name for database in list_owned(admin)}


def test_a_template_is_sealed(make_template: MakeTemplate, given: GivenServers) -> None:
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(given.postgres.url(make_template().name))


def test_two_heads_are_named(make_template: MakeTemplate, project: Project) -> None:
    add_migration(project.root, "2", "1")
    add_migration(project.root, "3", "1")

    with pytest.raises(SetupError, match=r"2 heads: 2, 3\. Join them with `alembic merge heads`"):
        make_template()


@pytest.mark.parametrize(
    ("down_revision", "source", "message"),
    [
        ("1", "def upgrade(", r"migrations/versions/r2\.py:\d+: '\(' was never closed\. Correct that"),
        ("1", "import nowhere", r"migrations/versions/r2\.py:8: No module named 'nowhere'"),
        ("1", "raise SystemExit('not today')", r"migrations/versions/r2\.py:8: not today"),
        ("0", "", r"Revision 0 referenced from 0 -> 2 \(head\), .* is not present"),
        ("1", "revision = '1'; down_revision = None", "Revision 1 is present more than once"),
    ],
)
def test_migrations_that_cannot_be_read_are_named(
    make_template: MakeTemplate, project: Project, down_revision: str, source: str, message: str
) -> None:
    path = add_migration(project.root, "2", down_revision)
    path.write_text(path.read_text().replace("def upgrade", f"{source}\ndef upgrade"))

    with pytest.raises(SetupError, match=f"alembic.ini names cannot be read: {message}"):
        make_template()


def test_an_alembic_ini_without_sections_is_named(make_template: MakeTemplate, project: Project) -> None:
    (project.root / "alembic.ini").write_text("script_location = migrations\n")

    with pytest.raises(SetupError, match=r"alembic\.ini names cannot be read: File contains no section headers"):
        make_template()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("op.execute('ALTER TABLE nowhere ADD x int')", r"migrations/versions/r2\.py:10: .*nowhere"),
        ("import sys; sys.exit('not today')", r"migrations/versions/r2\.py:10: not today"),
        ("raise KeyError('column')", r"migrations/versions/r2\.py:10: 'column'"),
    ],
)
def test_a_migration_that_fails_halfway_is_named_and_leaves_nothing(
    make_template: MakeTemplate, project: Project, admin: Admin, more: str, message: str
) -> None:
    databases = admin.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    add_migration(project.root, "2", "1", more)

    with pytest.raises(SetupError, match=f"{message}.*The half-built database was removed"):
        make_template()

    assert admin.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall() == databases


def test_a_connection_that_env_py_leaves_open_is_told(
    make_template: MakeTemplate, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_open: list[psycopg.Connection] = []
    monkeypatch.setattr(builtins, "left_open", left_open, raising=False)
    monkeypatch.setattr(service.testing.templates, "_LEAVE_SECONDS", 0.2)
    (project.root / "migrations" / "env.py").write_text(f"{ENV}\n{LEAVE_OPEN}")

    with pytest.raises(SetupError, match="have left a connection to the database open"):
        make_template()

    for connection in left_open:
        connection.close()
    assert len(left_open) == 1


def test_a_database_of_the_templates_name_that_is_not_ours_is_left_alone(
    make_template: MakeTemplate, admin: Admin
) -> None:
    name = make_template().name
    admin.execute(sql.SQL("COMMENT ON DATABASE {} IS 'mine'").format(sql.Identifier(name)))

    with pytest.raises(
        SetupError, match=f"has a database {name} that is not a sealed template of the tests"
    ) as refused:
        make_template()

    assert admin.execute("SELECT datistemplate FROM pg_database WHERE datname = %s", [name]).fetchone() == (True,)
    for statement in re.findall(r"(?:ALTER|DROP) DATABASE [^;]*", str(refused.value)):
        admin.execute(statement)
    assert make_template().name == name


def test_a_template_that_somebody_is_connected_to_names_the_visitor(
    make_template: MakeTemplate, admin: Admin, given: GivenServers
) -> None:
    template = make_template()
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    admin.execute(allow.format(sql.Identifier(template.name), sql.SQL("true")))
    with (
        psycopg.connect(given.postgres.url(template.name), application_name="curious"),
        pytest.raises(SetupError, match=r"\(curious\)\. Close that connection"),
    ):
        create_database(admin, "t_x_0_main_0", {}, template=template.name, strategy=template.strategy)
    admin.execute(allow.format(sql.Identifier(template.name), sql.SQL("false")))


def test_a_project_without_migrations_is_refused(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    (bookshop.path / "alembic.ini").unlink()

    assert_refused(run_bookshop("-n0", env=given.environment), "Name it by `db_alembic_config`")


@pytest.mark.parametrize(
    ("down_revision", "message"),
    [
        ("0000", "Revision 0000 referenced from 0000 -> 2 (head)"),
        (None, "2 heads: 0001, 2. Join them with `alembic merge heads`"),
        ("0001", "migrations/versions/r2.py:10: broken. The half-built database was removed."),
    ],
)
def test_migrations_that_cannot_be_run_end_the_run_with_one_paragraph(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, down_revision: str | None, message: str
) -> None:
    bookshop.makepyfile(NEEDS_DATABASE)
    add_migration(bookshop.path, "2", down_revision, "raise ValueError('broken')")
    databases = given.databases()

    assert_refused(run_bookshop("-n0", env=given.environment), message)
    assert given.databases() == databases
