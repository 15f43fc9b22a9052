"""Settings: every problem is told at once, before anything starts, and never with a secret in it."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.config import (
    MAX_PRICE,
    ConfigurationError,
    DatabaseSettings,
    Limits,
    Settings,
    load_settings,
)
from tests.unit.conftest import DATABASE_URL, REDIS_URL, SECRET, Environment, problems


def test_two_settings_are_enough(environment: Environment) -> None:
    environment.delenv("ENVIRONMENT", raising=False)

    loaded = load_settings(Settings)

    assert loaded.environment == "development"
    assert loaded.redis_url.get_secret_value() == REDIS_URL
    assert (loaded.statement_timeout_ms, loaded.lock_timeout_ms, loaded.redis_timeout_seconds) == (2000, 1500, 0.1)


@pytest.mark.parametrize("kind", [DatabaseSettings, Settings])
def test_a_file_that_is_not_utf_8_is_named(
    environment: Environment, tmp_path: Path, kind: type[DatabaseSettings]
) -> None:
    (tmp_path / ".env").write_bytes(b"THREADS=7\nENVIRONMENT=\xff\n")
    environment.setenv("POOL_SIZE", "-1")

    with pytest.raises(ConfigurationError) as caught:
        load_settings(kind)

    assert caught.value.problems == [
        "The settings in .env cannot be read: it is not UTF-8 text. Correct or remove that file."
    ]


@pytest.mark.usefixtures("environment")
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    # Root may read everything, so the mode of a file would not do.
    endless = tmp_path / "endless"
    endless.symlink_to("/proc/self/mem")

    with pytest.raises(ConfigurationError) as caught:
        load_settings(Settings, endless)

    assert caught.value.problems == [
        f"The settings in {endless} cannot be read: Input/output error. Correct or remove that file."
    ]


def test_a_migration_needs_the_database_only(environment: Environment) -> None:
    environment.delenv("REDIS_URL")

    assert load_settings(DatabaseSettings).database_url.get_secret_value().endswith("/items")


def test_settings_come_from_a_file_and_the_environment_comes_first(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://file/items\nTHREADS=7\nUNRELATED=1\n")
    environment.delenv("DATABASE_URL")
    environment.setenv("THREADS", "8")

    loaded = load_settings(Settings)

    assert (loaded.database_url.get_secret_value(), loaded.threads) == ("postgresql+psycopg://file/items", 8)


def test_no_file_is_read_unless_it_is_asked_for(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("THREADS=7\n")

    assert load_settings(Settings, env_file=None).threads == 16
    assert Settings(database_url=SecretStr(DATABASE_URL), redis_url=SecretStr(REDIS_URL)).threads == 16
    environment.setenv("THREADS", "9")
    assert load_settings(Settings, env_file=None).threads == 9


def test_what_is_wrong_in_a_file_is_told_like_the_environment(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=mysql://user:{SECRET}@h/db\n")
    environment.delenv("DATABASE_URL")

    assert problems() == [
        "DATABASE_URL='mysql://user:***@h/db': expected a URL that starts with postgresql:// or postgresql+psycopg://"
    ]


def test_every_scheme_of_a_redis_url_is_named(environment: Environment) -> None:
    environment.setenv("REDIS_URL", "http://host")

    (problem,) = problems()
    assert problem == (
        "REDIS_URL='http://host': expected a URL that starts with redis:// or rediss:// or unix:// or redis+sentinel://"
        " or redis+cluster:// or rediss+sentinel:// or rediss+cluster://"
    )


def test_missing_settings_are_told_with_an_example(environment: Environment) -> None:
    environment.delenv("DATABASE_URL")
    environment.delenv("REDIS_URL")

    assert problems() == [
        "DATABASE_URL is not set: expected for example postgresql://user:password@localhost:5432/items",
        "REDIS_URL is not set: expected for example redis://localhost:6379/0",
    ]


def test_every_problem_is_told_at_once(environment: Environment) -> None:
    environment.setenv("DATABASE_URL", f"sqlite:///{SECRET}.db")
    environment.delenv("REDIS_URL")
    environment.setenv("ENVIRONMENT", "staging")
    environment.setenv("THREADS", "many")
    environment.setenv("POOL_TIMEOUT_SECONDS", "-1")
    environment.setenv("LOCK_TIMEOUT_MS", "3000")

    told = problems()

    names = (
        "DATABASE_URL=",
        "REDIS_URL is not set",
        "ENVIRONMENT='staging'",
        "THREADS='many'",
        "POOL_TIMEOUT_SECONDS='-1'",
    )
    assert [sum(name in problem for problem in told) for name in names] == [1] * len(names)
    assert "'development' or 'production'" in next(problem for problem in told if problem.startswith("ENVIRONMENT"))


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("THREADS", "21", "POOL_SIZE + POOL_OVERFLOW (20) must be at least THREADS (21)"),
        ("LOCK_TIMEOUT_MS", "2000", "LOCK_TIMEOUT_MS (2000) must be less than STATEMENT_TIMEOUT_MS (2000)"),
        ("STATEMENT_TIMEOUT_MS", "2001", "come to 5.001 s, more than REQUEST_DEADLINE_SECONDS (5)"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    environment: Environment, setting: str, value: str, told: str
) -> None:
    environment.setenv(setting, value)

    assert [told in problem for problem in problems()] == [True]


def test_limits_are_compared_even_when_something_else_is_wrong(environment: Environment) -> None:
    environment.delenv("DATABASE_URL")
    environment.setenv("THREADS", "50")

    assert ["DATABASE_URL" in problem or "THREADS (50)" in problem for problem in problems()] == [True, True]


def test_numbers_that_do_not_fit_together_are_told_though_another_is_no_number(environment: Environment) -> None:
    environment.setenv("MAX_BODY_BYTES", "-1")
    environment.setenv("LOCK_TIMEOUT_MS", "3000")

    assert problems() == [
        "MAX_BODY_BYTES='-1': input should be greater than or equal to 1",
        "LOCK_TIMEOUT_MS (3000) must be less than STATEMENT_TIMEOUT_MS (2000)",
    ]


def test_what_is_no_number_is_compared_with_nothing(environment: Environment) -> None:
    environment.setenv("THREADS", "x")
    environment.setenv("POOL_SIZE", "1")

    assert [problem.partition(":")[0] for problem in problems()] == ["THREADS='x'"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("THREADS", "POOL_SIZE") for value in ("0", "-1", "201", "1.5", "x")),
        *(("POOL_TIMEOUT_SECONDS", value) for value in ("0", "6", "nan", "inf")),
        *(("CONNECT_TIMEOUT_SECONDS", value) for value in ("1", "6")),
        *(("REDIS_TIMEOUT_SECONDS", value) for value in ("0", "1.1", "nan")),
        *(("CACHE_TTL_SECONDS", value) for value in ("0", "3601")),
        *(("SHUTDOWN_TIMEOUT_SECONDS", value) for value in ("0", "12")),
        *(("STATEMENT_TIMEOUT_MS", value) for value in ("0", "60001")),
    ],
)
def test_a_number_out_of_bounds_is_told_with_its_value(environment: Environment, name: str, value: str) -> None:
    environment.setenv(name, value)

    assert any(problem.startswith(f"{name}={value!r}: ") for problem in problems())


def test_what_is_set_to_nothing_is_not_set(environment: Environment) -> None:
    for name in ("THREADS", "ENVIRONMENT", "CACHE_FAST_PATH", "REQUIRE_IF_MATCH"):
        environment.setenv(name, "")

    loaded = load_settings(Settings)

    assert (loaded.threads, loaded.environment) == (16, "development")
    assert (loaded.cache_fast_path, loaded.require_if_match) == (True, False)


def test_settings_cannot_be_changed() -> None:
    limits = Limits(threads=3)

    with pytest.raises(ValidationError, match="frozen"):
        limits.threads = 4  # type: ignore[misc]  # which is the point

    assert limits.threads == 3


def test_the_largest_price_fits_a_json_number() -> None:
    assert str(float(MAX_PRICE)) == str(MAX_PRICE)
