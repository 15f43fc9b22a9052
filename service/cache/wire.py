"""The scripts over a connection: one of them for some entries, or all of them to see whether the server lets us."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from service.cache.scripts import (
    FENCE,
    FENCE_SECONDS,
    LEASE,
    LEASE_SECONDS,
    RELEASE,
    UNFENCE,
    Script,
    entry_keys,
)
from service.redis_client import Client, Command, Connection, ask, connection_for


def ask_scripts(
    connection: Connection, script: Script, keys: Iterable[str], *arguments: bytes | str | int
) -> list[Any]:
    """Run `script` on the entry of each key, in one round trip."""
    tails: list[Command] = [(4, *entry_keys(key), *arguments) for key in keys]
    try:
        try:
            return ask(connection, *(("EVALSHA", script.digest, *tail) for tail in tails))
        except NoScriptError:
            return ask(connection, *(("EVAL", script.source, *tail) for tail in tails))
    except ResponseError as error:
        # What a command in a script says, Redis before 7 repeats in words of its own.
        if "-OOM " in str(error):
            raise OutOfMemoryError(str(error)) from error
        raise


def rehearse(client: Client, key: str) -> None:
    """Do once all that readers and writers do, which drops the entry under `key`; raises RedisError.

    A server that refused some of it would otherwise be off and on for ever.
    """
    token = uuid4().hex
    with connection_for(client, key) as connection:
        ask_scripts(connection, FENCE, [key], token, int(FENCE_SECONDS * 1000))
        ask_scripts(connection, UNFENCE, [key], token)
        ask(connection, ("MGET", *entry_keys(key)[:2]))
        with suppress(OutOfMemoryError):
            ask_scripts(connection, LEASE, [key], b"", token, int(LEASE_SECONDS * 1000))
        ask_scripts(connection, RELEASE, [key], token)
