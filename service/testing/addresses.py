"""URLs of servers: as libpq wants them, as SQLAlchemy wants them, and whether they lead off this machine."""

from ipaddress import ip_address
from urllib.parse import parse_qs, quote, unquote, urlsplit

from service.testing.errors import SetupError

_POSTGRES_SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}
_REDIS_SCHEMES = {"redis", "rediss", "unix"}


def for_libpq(url: str, database: str) -> str:
    """The same server's URL for psycopg and psql, with `database` in place of its own."""
    parts = urlsplit(url)
    # Spelled out, because `geturl` drops the slashes of a URL without a host.
    query = f"?{parts.query}" if parts.query else ""
    return f"postgresql://{parts.netloc}/{quote(database, safe='')}{query}"


def for_sqlalchemy(url: str, database: str) -> str:
    """The same server's URL for SQLAlchemy with psycopg 3."""
    return for_libpq(url, database).replace("postgresql://", "postgresql+psycopg://", 1)


def check_postgres_url(name: str, url: str, *, allow_remote: bool) -> str:
    """`url`, if it names a PostgreSQL server that may be used; raises SetupError."""
    _check(
        name, url, _POSTGRES_SCHEMES, "postgresql://user:password@localhost:5432/postgres", allow_remote=allow_remote
    )
    return url


def check_redis_url(name: str, url: str, *, allow_remote: bool) -> str:
    """`url`, if it names a Redis server that may be used; raises SetupError."""
    _check(name, url, _REDIS_SCHEMES, "redis://localhost:6379", allow_remote=allow_remote)
    return url


def without_password(url: str) -> str:
    """`url` without its password: psql asks for it, or finds it in ~/.pgpass."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}@{host}" if user else host
    return f"{parts.scheme}://{netloc}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def mask(url: str) -> str:
    """`url` without its password and its options."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{host}{parts.path}"


def _check(name: str, url: str, schemes: set[str], example: str, *, allow_remote: bool) -> None:
    host = _find_host(url) if urlsplit(url).scheme in schemes else None
    if host is None:
        raise SetupError(
            f"{name} is not a URL that the tests can use. Set it to something like {example}, or unset it."
        )
    if not allow_remote and not _is_loopback(host):
        raise SetupError(
            f"{name} leads to {host}, which is not this machine. The tests create and drop databases and empty Redis"
            " there. If that is what the server is for, say so with --allow-remote-services; otherwise use a server on"
            f" localhost, or unset {name} to use an embedded one."
        )


def _find_host(url: str) -> str | None:
    """The host, empty for a default socket; None when there is no making sense of the URL."""
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018  # parsed, and refused, when it is asked for
    except ValueError:
        return None
    if parts.scheme == "unix":
        return "/"
    from_query = parse_qs(parts.query).get("host") or parse_qs(parts.query).get("hostaddr")
    return from_query[-1] if from_query else unquote(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    # No host is libpq's own socket; a path is a socket's directory.
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
