"""The catalogue outside of a server: for commands that a person runs."""

import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from service.cache import Cache
from service.catalogue import Catalogue
from service.check import require_database
from service.config import ConfigurationError, Settings, load_settings
from service.database import EpochReader, make_engine, make_session_factory
from service.log import logging_config
from service.redis_client import Client, make_redis


@contextmanager
def opened_catalogue() -> Iterator[tuple[Catalogue, Client, EpochReader]]:
    """The catalogue on the servers of the environment; what goes wrong with them becomes a ConfigurationError."""
    settings = load_settings(Settings)
    engine, epochs = make_engine(settings), EpochReader(settings)
    sessions = make_session_factory(engine)
    try:
        with make_redis(settings) as client, sessions() as session:
            cache = Cache(client, epochs, ttl_seconds=settings.cache_ttl_seconds)
            yield Catalogue(session, sessions, cache), client, epochs
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise ConfigurationError([f"PostgreSQL: {reason}"]) from error
    except RedisError as error:
        raise ConfigurationError([f"Redis: {error}"]) from error
    finally:
        epochs.close()
        engine.dispose()


@contextmanager
def migrated_catalogue() -> Iterator[Catalogue]:
    """The same, for commands that change or read items: the log is set up, and the database has been migrated."""
    settings = load_settings(Settings)
    logging.config.dictConfig(logging_config(settings.environment))
    require_database(settings)
    with opened_catalogue() as (catalogue, _, _):
        yield catalogue
