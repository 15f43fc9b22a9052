"""The settings, read once into a frozen object.

Every number that bounds another number lives here, so that one validator sees them together.
"""

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.urls import check_database_url, check_redis_url, mask_url

# What an item may hold. Requests are checked against these (schemas) and so is every row (models).
MAX_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 10_000
MAX_PRICE = Decimal("9999999999.99")
MAX_ID = 2**63 - 1
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
MAX_OPERATIONS = 1000  # of a batch
# What may be kept of a POST with an Idempotency-Key. Of all answers that of a batch is the longest: 1,000 items, each
# as long as it may be and all of it characters that JSON escapes.
MAX_KEY_LENGTH = 255
MAX_ANSWER_BYTES = 64 * 1024**2
# The longest item takes a tenth of it; a file without line feeds must not fill the memory.
MAX_LINE_BYTES = 1024 * 1024
# At once, in each worker process: they last long, and each has a connection for itself all the while.
MAX_IMPORTS = 2
MAX_EXPORTS = 2


class ConfigurationError(Exception):
    """The environment does not describe a service that can run; `problems` holds one sentence for each fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Limits(BaseSettings):
    """The numbers that bound each other. Each worker process has its own pool and its own threads."""

    # Errors must not repeat the input: it may hold a password. `load_settings` adds it back, masked.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    threads: int = Field(default=16, ge=1, le=200, description="requests that one worker process works on at once")
    pool_size: int = Field(default=16, ge=1, le=200, description="connections that one worker keeps open")
    pool_overflow: int = Field(default=4, ge=0, le=200, description="connections that one worker may open beyond these")
    pool_timeout_seconds: float = Field(default=1, gt=0, le=5, description="wait for a free connection")
    connect_timeout_seconds: int = Field(
        default=2, ge=2, le=5, description="wait for PostgreSQL to accept a connection"
    )
    statement_timeout_ms: int = Field(default=2000, ge=1, le=60_000, description="longest statement")
    # PostgreSQL looks for a deadlock after 1 s of waiting. Any sooner, and a wait has ended before it is known for one.
    lock_timeout_ms: int = Field(default=1500, ge=1, le=60_000, description="longest wait for a lock")
    idle_in_transaction_timeout_ms: int = Field(
        default=5000, ge=1, le=60_000, description="PostgreSQL ends a transaction that is silent for this long"
    )
    request_deadline_seconds: float = Field(
        default=5, gt=0, le=60, description="a request in trouble is answered by then"
    )
    redis_timeout_seconds: float = Field(default=0.1, gt=0, le=1, description="wait for Redis, before doing without it")
    max_body_bytes: int = Field(
        default=1_048_576, ge=1, le=2**30, description="longest body of a request; what is imported may be longer"
    )
    cache_ttl_seconds: int = Field(default=30, ge=1, le=3600, description="age at which a cached answer is dropped")
    changes_kept_days: int = Field(
        default=30, ge=1, le=3650, description="age at which `service expire` drops changes from the feed"
    )
    # The clean-up after it takes up to 3.5 s more, and a process must be gone 15 s after SIGTERM.
    shutdown_timeout_seconds: int = Field(default=10, ge=1, le=11, description="time that running requests get to end")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        problems = [text for holds, text in self._bounds() if not holds]
        if problems:
            raise PydanticCustomError("bounds", "{text}", {"text": "; ".join(problems)})
        return self

    def _bounds(self) -> Iterator[tuple[bool, str]]:
        connections = self.pool_size + self.pool_overflow
        yield (
            connections >= self.threads,
            f"POOL_SIZE + POOL_OVERFLOW ({connections}) must be at least THREADS ({self.threads}): each may need one",
        )
        yield (
            self.lock_timeout_ms < self.statement_timeout_ms,
            (
                f"LOCK_TIMEOUT_MS ({self.lock_timeout_ms}) must be less than"
                f" STATEMENT_TIMEOUT_MS ({self.statement_timeout_ms})"
            ),
        )
        waits = self.pool_timeout_seconds + self.connect_timeout_seconds + self.statement_timeout_ms / 1000
        yield (
            waits <= self.request_deadline_seconds,
            (
                f"POOL_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_MS come to {waits:g} s,"
                f" more than REQUEST_DEADLINE_SECONDS ({self.request_deadline_seconds:g})"
            ),
        )


class DatabaseSettings(Limits):
    """What it takes to reach PostgreSQL; all that a migration needs."""

    database_url: Annotated[SecretStr, AfterValidator(check_database_url)]


class Settings(DatabaseSettings):
    """What the environment and `.env` say: a field's variable is its name in upper case, with its unit."""

    redis_url: Annotated[SecretStr, AfterValidator(check_redis_url)]
    cache_fast_path: bool = Field(default=True, description="answer cached reads on the event loop")
    require_if_match: bool = Field(default=False, description="refuse to change an item without If-Match")
    environment: Literal["development", "production"] = "development"


AnySettings = TypeVar("AnySettings", bound=Limits)


def load_settings(
    kind: type[AnySettings], env_file: Path | None = Path(".env"), *, known: Mapping[str, Any] | None = None
) -> AnySettings:
    """`kind` filled from `known`, the environment, `env_file`; raises ConfigurationError with every problem at once."""
    try:
        return _load(kind, env_file, known or {})
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            [f"The settings in {env_file} cannot be read: {reason}. Correct or remove that file."]
        ) from error


def _load(kind: type[AnySettings], env_file: Path | None, known: Mapping[str, Any]) -> AnySettings:
    try:
        return kind(_env_file=env_file, **known)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # Pydantic compares fields only when each alone is valid; compare the valid ones too, so that nothing is told late.
    unusable = {str(detail["loc"][0]) for detail in details if detail["loc"]} & Limits.model_fields.keys()
    try:
        Limits(_env_file=env_file, **{name: Limits.model_fields[name].default for name in unusable})
    except ValidationError as error:
        compared = error.errors(include_url=False)
        details += [each for each in compared if not any(name.upper() in each["msg"] for name in unusable)]
    given = {name.upper(): value for name, value in {**dotenv_values(env_file or os.devnull), **os.environ}.items()}
    raise ConfigurationError(list(dict.fromkeys(_describe(detail, given) for detail in details)))


def _describe(detail: ErrorDetails, given: dict[str, str | None]) -> str:
    if not detail["loc"]:
        return detail["msg"]
    name = str(detail["loc"][0]).upper()
    expected = detail["msg"][0].lower() + detail["msg"][1:]
    value = given.get(name) or ""
    if name not in given or (name in _EXAMPLES and not value):
        return f"{name} is not set: {_EXAMPLES.get(name, expected)}"
    shown = mask_url(value) if name.endswith("_URL") else value
    return f"{name}={shown!r}: {expected}"


_EXAMPLES = {
    "DATABASE_URL": "expected for example postgresql://user:password@localhost:5432/items",
    "REDIS_URL": "expected for example redis://localhost:6379/0",
}
