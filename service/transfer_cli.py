"""`service import` and `service export`: files of items, for a person or a script at a terminal."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from service.errors import RejectedLinesError
from service.filters import ItemFilter
from service.standalone import migrated_catalogue
from service.transfer import Format

CHUNK_BYTES = 64 * 1024
STANDARD = "-"

File = Annotated[str, typer.Argument(help="The file; - is standard input, or output.", metavar="FILE")]
FileFormat = Annotated[
    Format | None, typer.Option("--format", help="By default what the file's name ends in; ndjson for other names.")
]


def import_file(
    file: File,
    file_format: FileFormat = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Create items, and replace those whose id is given: all of a file of any length, or nothing.

    NDJSON (an object on each line) or CSV with a header, as an export has them. Lines that are no items are listed.
    """
    with _reading(file) as source, migrated_catalogue() as catalogue, _progress() as progress:
        chunks = _read(source, file, progress)
        try:
            counts = catalogue.import_items(chunks, file_format or _guess_format(file), dry_run=dry_run)
        except RejectedLinesError as error:
            progress.stop()
            _report(error)
            raise typer.Exit(1) from error
    verbs = ("Would create", "replace") if dry_run else ("Created", "replaced")
    typer.echo(f"{verbs[0]} {counts.created:,} items, {verbs[1]} {counts.updated:,}.")


def export_file(
    file: File,
    file_format: FileFormat = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write all items into a file, oldest first, as they are at one moment. The file is there when it is whole."""
    with _writing(file, force=force) as target, migrated_catalogue() as catalogue, _progress() as progress:
        task = progress.add_task("Exporting", total=None)
        for chunk in catalogue.export_items(file_format or _guess_format(file), ItemFilter()):
            with _explained(f"Cannot write {file}"):
                target.write(chunk)
            progress.advance(task, len(chunk))


def _guess_format(file: str) -> Format:
    return Format.CSV if file.lower().endswith(".csv") else Format.NDJSON


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _reading(file: str) -> Iterator[BinaryIO]:
    with _explained(f"Cannot read {file}"):
        source = sys.stdin.buffer if file == STANDARD else Path(file).open("rb")  # noqa: SIM115  # closed below
    with source:
        yield source


def _read(source: BinaryIO, file: str, progress: Progress) -> Iterator[bytes]:
    # Zero for what is no ordinary file, whose length nobody knows.
    length = os.fstat(source.fileno()).st_size or None
    task = progress.add_task("Importing", total=length)
    while True:
        with _explained(f"Cannot read {file}"):
            chunk = source.read(CHUNK_BYTES)
        if not chunk:
            progress.update(task, description="Writing items")
            return
        yield chunk
        progress.advance(task, len(chunk))


@contextmanager
def _writing(file: str, *, force: bool) -> Iterator[BinaryIO]:
    """What takes the place of `file` when all was written; until then nothing of that name is touched."""
    if file == STANDARD:
        # Not Python's own, which would try once more at the end to write what a full disk has refused.
        with _explained(f"Cannot write {file}"), os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
            yield output
        return
    path = Path(file)
    _require_free(path, force=force)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _explained(f"Cannot write {file}"):
            with part.open("xb") as target:
                yield target
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _require_free(path: Path, *, force: bool) -> None:
    if path.is_dir() or (path.exists() and not path.is_file()):
        _fail(f"Cannot write {path}: it is not an ordinary file.")
    if path.exists() and not force:
        _fail(f"{path} exists already. Choose another name, or replace it with --force.")


@contextmanager
def _explained(problem: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        # Who reads, such as `head`, has enough: as quiet an end as SIGPIPE makes.
        raise typer.Exit(128 + signal.SIGPIPE) from error
    except OSError as error:
        _fail(f"{problem}: {error.strerror}.")


def _report(error: RejectedLinesError) -> None:
    typer.echo(error, err=True)
    for line in error.extensions["errors"]:
        # A file must not command the terminal.
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in line["content"])
        typer.echo(f"line {line['line']}: {line['detail']}\n    {shown}", err=True)


def _fail(sentence: str) -> None:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
