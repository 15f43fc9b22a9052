"""The `service` command: its words, and how a failure is told to the person at the terminal."""

import logging
import logging.config
import signal
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.progress import Progress
from sqlmodel import Session

from service import cache_cli, transfer_cli
from service.check import check_service, connect, find_redis_problem, require_database
from service.config import ConfigurationError, DatabaseSettings, Settings, load_settings
from service.embedded import EmbeddedError
from service.expiry import expire_answers, expire_changes
from service.seed import generate_items
from service.server import claim_address, make_server_config, run_server
from service.standalone import migrated_catalogue

log = logging.getLogger(__name__)

app = typer.Typer(
    help="The item service: a catalogue over HTTP, on PostgreSQL and Redis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(cache_cli.app, name="cache")
app.command("import")(transfer_cli.import_file)
app.command("export")(transfer_cli.export_file)

MOVE_SEQUENCE = "Move it beyond: SELECT setval(pg_get_serial_sequence('item', 'id'), max(id)) FROM item;"


def _tell_version(is_wanted: bool) -> None:  # noqa: FBT001  # as Typer calls it
    if is_wanted:
        typer.echo(f"item-service {metadata.version('item-service')}")
        raise typer.Exit


@app.callback()
def read_options(
    *, _version: Annotated[bool, typer.Option("--version", callback=_tell_version, help="Tell the version.")] = False
) -> None:
    """Take what stands before the command."""


Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes any that is free.")]


@app.command()
def up(
    port: Port = 8000,
    data_dir: Annotated[
        Path, typer.Option(file_okay=False, help="Where the database lives; made if it does not exist.")
    ] = Path(".service-data"),
) -> None:
    """Run everything here: PostgreSQL, Redis, migrations, sample items and the API on 127.0.0.1, until Ctrl-C.

    For trying and developing. The servers come with the package and end with this command; the data stays in the data
    directory. DATABASE_URL and REDIS_URL are not used.
    """
    # Servers and Alembic, which take a quarter of a second to import, are for this command only.
    from service.up import run_stack  # noqa: PLC0415

    run_stack(port, data_dir, Console())


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every IPv4 one.")] = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Processes; one that dies is replaced.")] = 1,
) -> None:
    """Serve in production, on the servers that DATABASE_URL and REDIS_URL name.

    The port opens when the settings are valid and the database is migrated (`alembic upgrade head`). SIGTERM lets
    running requests end.
    """
    settings = load_settings(Settings)
    config = make_server_config(settings, workers=workers)
    require_database(settings)
    listener = claim_address(host, port)
    if problem := find_redis_problem(settings):
        log.warning("server.without_redis", extra={"problem": problem})
    run_server(config, listener)


@app.command()
def check() -> None:
    """Try the configuration on the live servers, and list every problem that there is (exit code 1)."""
    findings = list(check_service())
    if problems := [f"{finding.part}: {finding.sentence}" for finding in findings if finding.is_problem]:
        raise ConfigurationError(problems)
    for finding in findings:
        typer.echo(f"{finding.part:<12}{finding.sentence}")


@app.command()
def seed(
    items: Annotated[int, typer.Option(min=1, help="How many to add.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same items.")] = 1,
) -> None:
    """Add realistic items, in several languages, to the database that DATABASE_URL names: all of them or none."""
    began = time.perf_counter()
    console = Console(stderr=True)
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    with migrated_catalogue() as catalogue, progress:
        try:
            catalogue.add_items(progress.track(generate_items(items, seed), total=items, description="Adding items"))
        except psycopg.errors.UniqueViolation as error:
            problem = "somebody has given an item an id that is the sequence's to give"
            detail = error.diag.message_detail
            raise ConfigurationError([f"Nothing was added: {problem} ({detail}). {MOVE_SEQUENCE}"]) from error
    typer.echo(f"Added {items:,} items in {time.perf_counter() - began:.1f} s.")


@app.command()
def expire() -> None:
    """Remove changes older than CHANGES_KEPT_DAYS, and answers of Idempotency-Keys older than 24 hours: for cron.

    Requests with new keys remove old answers too, a few at a time; this is for the last ones.
    """
    settings = load_settings(DatabaseSettings)
    require_database(settings)
    with connect(settings) as connection, Session(connection) as session:
        dropped = expire_changes(session, days=settings.changes_kept_days)
        removed = expire_answers(session)
    typer.echo(f"Removed {dropped:,} changes and {removed:,} answers.")


def main() -> None:
    """Run the command. What a person can put right is told in a sentence each on stderr, with exit code 1."""
    # A Ctrl-C is ours again; see `__main__`.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except ConfigurationError as error:
        sys.exit("\n".join(error.problems))
    except EmbeddedError as error:
        sys.exit(str(error))
