"""Files of items over HTTP."""

from collections.abc import Generator
from contextlib import closing
from email.message import Message
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from service.catalogue import Catalogue
from service.dependencies import CatalogueDep, TransfersDep
from service.errors import UnsupportedMediaTypeError
from service.transfer import Format
from service.web.exact_json import ExactRoute
from service.web.problems import Fault, Problem, describe_problems
from service.web.streams import PatientStream, Transfers, occupying, pull_body

router = APIRouter(prefix="/items", tags=["transfer"], route_class=ExactRoute, responses=describe_problems(422, 503))

MEDIA_TYPES = {Format.NDJSON: "application/x-ndjson", Format.CSV: "text/csv"}
FORMATS = {
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "text/csv": Format.CSV,
}
BODY = {"content": {media_type: {"schema": {"type": "string"}} for media_type in FORMATS}, "required": True}
FILE = {200: {"content": {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}}}


class ImportResult(BaseModel):
    """What an import did, or would do: numbers of items."""

    created: int
    updated: int
    rejected: int = Field(default=0, description="always 0: with a rejected line the answer is 422")


class RejectedFault(Fault):
    """A line that was rejected."""

    line: int = Field(description="its number, from 1; of a CSV record that has several lines, the first")
    content: str = Field(description="its first 200 characters")


class RejectedLines(Problem):
    """The first 100 lines that were rejected, and how many there are."""

    rejected: int
    errors: list[RejectedFault]  # type: ignore[assignment]  # narrower, and always there


FileFormat = Annotated[Format, Query(alias="format")]


@router.post(
    "/import",
    openapi_extra={"requestBody": BODY},
    responses={**describe_problems(400, 408, 415), **describe_problems(422, model=RejectedLines)},
)
def import_items(
    request: Request,
    catalogue: CatalogueDep,
    transfers: TransfersDep,
    dry_run: Annotated[bool, Query(description="say what would be done, and do nothing")] = False,  # noqa: FBT002
) -> ImportResult:
    """Create items, and replace those whose id is given: all of a file of any length, or nothing.

    What an export has written can be imported as it is; its times and versions count for nothing.
    """
    file_format = _find_format(request)
    with occupying(transfers.imports):
        chunks = pull_body(request, patience_seconds=transfers.patience_seconds)
        counts = catalogue.import_items(chunks, file_format, dry_run=dry_run)
    return ImportResult(created=counts.created, updated=counts.updated)


@router.get("/export", response_class=Response, responses=FILE)  # type: ignore[arg-type]
def export_items(catalogue: CatalogueDep, transfers: TransfersDep, file_format: FileFormat = Format.NDJSON) -> Response:
    """All items in one file, oldest first, as they were at one moment."""
    chunks = _begin_export(catalogue, transfers, file_format)
    # What fails at the start can still be answered with a problem.
    next(chunks)
    return PatientStream(
        chunks,
        patience_seconds=transfers.patience_seconds,
        media_type=MEDIA_TYPES[file_format],
        headers=_name_file(file_format),
    )


@router.head("/export", include_in_schema=False)
async def describe_export(file_format: FileFormat = Format.NDJSON) -> Response:
    """What a GET would answer, but for the file."""
    return StreamingResponse((), media_type=MEDIA_TYPES[file_format], headers=_name_file(file_format))


def _begin_export(catalogue: Catalogue, transfers: Transfers, file_format: Format) -> Generator[bytes, None, None]:
    """The file, after an empty piece when PostgreSQL has begun to send it."""
    with occupying(transfers.exports), closing(catalogue.export_items(file_format)) as chunks:
        first = next(chunks, b"")
        yield b""
        yield first
        yield from chunks


def _name_file(file_format: Format) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="items.{file_format}"'}


def _find_format(request: Request) -> Format:
    """By the body's media type; raises UnsupportedMediaTypeError."""
    content = Message()
    content["Content-Type"] = request.headers.get("content-type", "")
    file_format = FORMATS.get(content.get_content_type())
    is_plain = request.headers.get("content-encoding", "identity").lower() == "identity"
    if file_format is None or content.get_content_charset("utf-8") != "utf-8" or not is_plain:
        accepted = ", ".join(FORMATS)
        raise UnsupportedMediaTypeError(
            f"An import takes {accepted}, in UTF-8 and not compressed.",
            {"Accept": accepted, "Accept-Encoding": "identity"},
        )
    return file_format
