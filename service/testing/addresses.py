"""URLs of servers: as libpq wants them, as SQLAlchemy wants them, and whether they lead off this machine."""

from ipaddress import ip_address
from itertools import zip_longest
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

from service.testing.errors import SetupError

_POSTGRES_SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}
_REDIS_SCHEMES = {"redis", "rediss", "unix"}
_ENVIRONMENT = "The environment (PGHOST, PGHOSTADDR, PGSERVICE)"


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
    """`url`, if it and libpq's environment variables name a PostgreSQL server that may be used; raises SetupError."""
    told = _read_options(url) if _is_sound(url, _POSTGRES_SCHEMES) else None
    if told is None:
        raise _no_url(name, "postgresql://user:password@localhost:5432/postgres")
    if not allow_remote:
        if service := told.get("service"):
            raise SetupError(
                f"{name} names the connection service {service}, and what server that is on is not known here. Write"
                " its host into the URL; if the server is not this machine, say --allow-remote-services."
            )
        _refuse_remote(name, *_find_postgres_hosts(name, told))
    return url


def check_redis_url(name: str, url: str, *, allow_remote: bool) -> str:
    """`url`, if it names a Redis server that may be used; raises SetupError."""
    if not _is_sound(url, _REDIS_SCHEMES):
        raise _no_url(name, "redis://localhost:6379")
    if not allow_remote:
        _refuse_remote(name, name, _find_redis_hosts(url))
    return url


def without_password(url: str) -> str:
    """`url` without its passwords: psql asks for them, or finds them in ~/.pgpass."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}@{host}" if user else host
    options = parts.query.split("&") if parts.query else []
    query = "&".join(option for option in options if not _is_password(option))
    return f"{parts.scheme}://{netloc}{parts.path}{f'?{query}' if query else ''}"


def _is_password(option: str) -> bool:
    return unquote(option.partition("=")[0]) in {"password", "sslpassword"}


def mask(url: str) -> str:
    """`url` without its password and its options."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{host}{parts.path}"


def _is_sound(url: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # parsed, and refused, when it is asked for
    except ValueError:
        return False
    return parts.scheme in schemes


def _no_url(name: str, example: str) -> SetupError:
    return SetupError(f"{name} is not a URL that the tests can use. Set it to something like {example}, or unset it.")


def _refuse_remote(name: str, told_by: str, hosts: list[str]) -> None:
    if not all(map(_is_loopback, hosts)):
        raise SetupError(
            f"{told_by} leads to {','.join(hosts)}, which is not this machine. The tests create and drop databases and"
            " empty Redis there. If that is what the server is for, say so with --allow-remote-services; otherwise use"
            f" a server on localhost. Without {name} the tests use an embedded one."
        )


def _read_options(url: str) -> dict[str, str] | None:
    """What the URL tells libpq; None when there is no making sense of it."""
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    # SQLAlchemy reads an option that is empty or repeated in another way than libpq does.
    is_ambiguous = len(dict(query)) < len(query) or not all(value for _, value in query)
    # And this one would lead every test to the same database.
    if is_ambiguous or "dbname" in dict(query):
        return None
    try:
        return {option: str(value) for option, value in conninfo_to_dict(for_libpq(url, "")).items()}
    except ProgrammingError:
        return None


def _find_postgres_hosts(name: str, told: dict[str, str]) -> tuple[str, list[str]]:
    """Who tells where libpq connects to, and all places that it may try; empty for a default socket."""
    # Those of the service that PGSERVICE names are among them.
    defaults = {option.keyword.decode(): (option.val or b"").decode() for option in pq.Conninfo.get_defaults()}
    addresses, names = (told.get(option) or defaults[option] for option in ("hostaddr", "host"))
    told_by = name if told.get("hostaddr") or (told.get("host") and not addresses) else _ENVIRONMENT
    # An address is where it connects to, a name beside it is only what the certificate has to say.
    pairs = zip_longest(addresses.split(","), names.split(","), fillvalue="")
    return told_by, [address or host for address, host in pairs]


def _find_redis_hosts(url: str) -> list[str]:
    """The hosts that the client may prefer; empty for its default."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return ["/"]
    return [host for host in (unquote(parts.hostname or ""), *parse_qs(parts.query).get("host", [])) if host]


def _is_loopback(host: str) -> bool:
    # No host is libpq's own socket; a path is a socket's directory.
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
