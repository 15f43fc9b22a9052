"""What the project says about itself, in the pytest configuration."""

import re
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import pytest

from service.testing.errors import SetupError

_PROJECT_LENGTH = 20
_PLACEHOLDERS = {"database_url", "redis_url"}
_DEFAULT_ENVIRONMENT = ["DATABASE_URL={database_url}", "REDIS_URL={redis_url}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The project under test. Factories are named as `module:attribute`."""

    name: str
    root: Path
    alembic_config: Path | None
    app_factory: str | None
    session_factory: str
    environment: dict[str, str]

    def fill_environment(self, *, database_url: str, redis_url: str) -> dict[str, str]:
        """The environment variables that tell the application where its servers are."""
        return {
            name: value.format(database_url=database_url, redis_url=redis_url)
            for name, value in self.environment.items()
        }

    @property
    def uses_redis(self) -> bool:
        """Whether the application is told of a Redis at all."""
        return any("{redis_url}" in value for value in self.environment.values())


def add_options(parser: pytest.Parser) -> None:
    """Declare the options of the pytest configuration and of the command line."""
    parser.addini("db_project", "short name in the names of databases (default: the root directory's)", default="")
    parser.addini("db_alembic_config", "Alembic's configuration file, from the root directory", default="alembic.ini")
    parser.addini("db_app_factory", "module:function that makes the ASGI application, called without arguments")
    parser.addini(
        "db_session_factory",
        "where the application keeps its sessionmaker, from the application",
        default="state.sessions",
    )
    parser.addini(
        "db_environment",
        "NAME=value lines for the application; {database_url} and {redis_url} are filled in",
        type="linelist",
        default=_DEFAULT_ENVIRONMENT,
    )
    parser.addini("db_compose_file", "for --services=compose", default="compose/compose.test.yaml")
    group = parser.getgroup("service.testing", "real PostgreSQL and Redis for tests")
    group.addoption(
        "--services",
        choices=["auto", "compose"],
        default="auto",
        help="auto: TEST_DATABASE_URL and TEST_REDIS_URL where set, else embedded servers; compose: docker compose",
    )
    group.addoption(
        "--allow-remote-services", action="store_true", help="use servers that are not on this machine's loopback"
    )
    group.addoption("--db-report", action="store_true", help="tell what isolation cost")


def read_project(config: pytest.Config) -> Project:
    """Read the project's options; raises SetupError."""
    alembic_config = config.rootpath / config.getini("db_alembic_config")
    return Project(
        name=_plain_name(config.getini("db_project") or config.rootpath.name),
        root=config.rootpath,
        alembic_config=alembic_config if alembic_config.is_file() else None,
        app_factory=config.getini("db_app_factory") or None,
        session_factory=config.getini("db_session_factory"),
        environment=dict(map(_parse_variable, config.getini("db_environment"))),
    )


def _plain_name(name: str) -> str:
    # Names of databases end at 63 bytes, and `_` separates their parts.
    return re.sub(r"[^a-z0-9]", "", name.lower())[:_PROJECT_LENGTH] or "project"


def _parse_variable(line: str) -> tuple[str, str]:
    name, separator, value = line.partition("=")
    try:
        fields = [parsed[1:] for parsed in Formatter().parse(value) if parsed[1] is not None]
    except ValueError:
        fields = [(value, "", None)]
    # A URL as it is, neither formatted nor converted.
    is_plain = all(field in _PLACEHOLDERS and not spec and not conversion for field, spec, conversion in fields)
    if not separator or not is_plain:
        raise SetupError(
            f"The pytest option `db_environment` has the line {line!r}. Write NAME=value, where value may hold"
            " {database_url} and {redis_url} and no other braces."
        )
    return name.strip(), value.strip()
