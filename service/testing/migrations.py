"""Running the project's Alembic migrations, in this process and without a trace in its logging."""

import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, text

from service.testing.configuration import Project
from service.testing.errors import SetupError
from service.testing.listeners import unwatched

_HAS_TABLES = text("SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))")


def read_config(project: Project) -> Config:
    """The project's Alembic configuration, which prints nothing; raises SetupError."""
    if project.alembic_config is None:
        raise SetupError(
            "There is no Alembic configuration file to build the test database with. Name it by `db_alembic_config` in"
            " the pytest configuration, from the root directory (the default is alembic.ini)."
        )
    return Config(project.alembic_config, stdout=io.StringIO(), output_buffer=io.StringIO())


def migration_files(project: Project) -> list[Path]:
    """Every file that may decide what the migrations make, in a stable order; raises SetupError.

    Those are all that lie beside them: a migration may read SQL or data from a file.
    """
    config = read_config(project)
    script = _read_script(config)
    folders = [Path(script.dir), *map(Path, script._version_locations)]  # noqa: SLF001  # its public twin is deprecated
    files = {path.resolve() for folder in folders for path in folder.rglob("*") if _is_source(path, folder)}
    return sorted({*files, Path(str(config.config_file_name)).resolve()})


def _is_source(path: Path, folder: Path) -> bool:
    """Whether this is neither a compiled file nor one that an editor or a tool has for itself."""
    parts = path.relative_to(folder).parts
    is_hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
    return not is_hidden and not path.name.endswith("~") and path.is_file()


def _read_script(config: Config) -> ScriptDirectory:
    try:
        return ScriptDirectory.from_config(config)
    except Exception as error:  # of Alembic, of what reads its file, of the file system
        raise _unreadable(config, error) from error


def _read_heads(project: Project, config: Config) -> list[str]:
    """The migrations that nothing follows; every migration is imported for it."""
    script = _read_script(config)
    try:
        with warnings.catch_warnings():
            # Alembic only warns of a revision that is there twice, or not at all.
            warnings.filterwarnings("error", "Revision .* is (not present|present more than once)")
            return sorted(script.get_heads())
    except (Exception, SystemExit) as error:
        raise _unreadable(config, error, _find_migration(error, project)) from error


def _unreadable(config: Config, error: BaseException, where: str = "") -> SetupError:
    return SetupError(
        f"The migrations that {config.config_file_name} names cannot be read: {where}{_first_line(error)}. Correct"
        " that, then run the tests again."
    )


def migrate(project: Project, url: str) -> None:
    """Bring the database at `url` to the one head, and leave no connection to it; raises SetupError."""
    config = read_config(project)
    heads = _read_heads(project, config)
    if len(heads) > 1:
        raise SetupError(
            f"The migrations have {len(heads)} heads: {', '.join(heads)}. Join them with `alembic merge heads`,"
            " or correct the down_revision of one, then run the tests again."
        )
    with said_plainly(project), connected(config, url) as connection:
        command.upgrade(config, "head")
        # At least Alembic's own, under whatever name and in whatever schema env.py has it.
        has_tables = connection.execute(_HAS_TABLES).scalar_one()
    if heads and not has_tables:
        raise SetupError(
            f"The migrations have run, but not on the test database: {config.config_file_name} has an env.py that finds"
            " a database in a way of its own. Let it use config.attributes['connection'], or the URL in the option"
            " sqlalchemy.url, which are the test database's."
        )


@contextmanager
def connected(config: Config, url: str) -> Iterator[Connection]:
    """Let Alembic work on the database at `url`, and nowhere else: by a connection, or by one that env.py makes."""
    # As env.py reads it that `alembic init` writes. Whatever stood there is not the tests' to migrate.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    # Without a pool: a connection that lingers would keep the database from being copied.
    engine = create_engine(url, poolclass=NullPool)
    with unwatched(), preserved_logging(), engine.connect() as connection:
        config.attributes["connection"] = connection
        yield connection
        connection.commit()


@contextmanager
def preserved_logging() -> Iterator[None]:
    """Undo what an env.py does to logging (fileConfig silences every logger that exists) and to standard output."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    loggers = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, logger.disabled, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for logger, disabled, own_handlers, own_level, propagate in before:
            logger.disabled, logger.propagate = disabled, propagate
            logger.handlers[:] = own_handlers
            logger.setLevel(own_level)


@contextmanager
def said_plainly(project: Project) -> Iterator[None]:
    """Raise SetupError, naming the migration, from whatever a migration raises (env.py may call sys.exit)."""
    try:
        yield
    except (Exception, SystemExit) as error:
        where = _find_migration(error, project)
        raise SetupError(
            f"The migrations do not run on an empty database: {where}{_first_line(error)}. The half-built database was"
            " removed. Correct the migration, then run the tests again."
        ) from error


def _find_migration(error: BaseException, project: Project) -> str:
    """The innermost place in a migration that the error came through, as `path:line: `; empty when there is none."""
    files = set(map(str, migration_files(project)))
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    for name, line in reversed(places):
        path = Path(name).resolve()
        if str(path) in files:
            shown = path.relative_to(project.root) if path.is_relative_to(project.root) else path
            return f"{shown}:{line}: "
    return ""


def _first_line(error: BaseException) -> str:
    # The whole text of a SyntaxError names the place once more.
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0].rstrip(".")
