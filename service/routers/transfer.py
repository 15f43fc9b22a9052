"""Files of items over HTTP."""

from collections.abc import AsyncIterator, Generator
from contextlib import closing
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from service.catalogue import Catalogue
from service.dependencies import CatalogueDep, Once, TransfersDep
from service.filters import ItemFilter
from service.transfer import Format
from service.web.idempotency import KEY_HEADER
from service.web.media_types import JSON, accepts, read_media_type
from service.web.openapi import describe_headers
from service.web.problems import Fault, Problem, Responses, describe_problems
from service.web.refusals import TransfersBusyError
from service.web.streams import PatientStream, Upload
from service.web.strict_route import StrictRoute
from service.web.turns import taking

router = APIRouter(prefix="/items", tags=["transfer"], route_class=StrictRoute, responses=describe_problems(422, 503))

MEDIA_TYPES = {Format.NDJSON: "application/x-ndjson", Format.CSV: "text/csv"}
FORMATS = {
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "text/csv": Format.CSV,
}
EXAMPLES = {
    Format.NDJSON: {
        "created": {
            "summary": "Two items that are new",
            "value": '{"name": "Widget", "price": 10.99}\n{"name": "Gadget", "description": "Small", "price": 2.5}\n',
        }
    },
    Format.CSV: {
        "created": {
            "summary": "Two items that are new",
            "value": 'name,description,price\nWidget,"Useful, and round",10.99\nGadget,,2.50\n',
        }
    },
}
BODY = {
    "content": {
        media_type: {"schema": {"type": "string"}, "examples": EXAMPLES[file_format]}
        for media_type, file_format in FORMATS.items()
    },
    "required": True,
}
FILE: Responses = {
    200: {
        "description": "The file.",
        "content": {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()},
        "headers": describe_headers("Content-Disposition"),
    }
}


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


class ExportQuery(ItemFilter):
    """Which items, in which format."""

    format: Format = Field(default=Format.NDJSON, description="what kind of file")


# They hand on what the query says, so that one without sense is refused before it waits for a turn.


async def _take_import_turn(
    transfers: TransfersDep,
    dry_run: Annotated[bool, Query(description="say what would be done, and do nothing")] = False,  # noqa: FBT002
) -> AsyncIterator[bool]:
    async with taking(transfers.imports, TransfersBusyError()):
        yield dry_run


async def _take_export_turn(
    transfers: TransfersDep, query: Annotated[ExportQuery, Query()]
) -> AsyncIterator[ExportQuery]:
    async with taking(transfers.exports, TransfersBusyError()):
        yield query


IMPORTED: Responses = {
    200: {"description": "What was done.", "headers": describe_headers("Idempotency-Replayed")},
    **describe_problems(409),
    **describe_problems(422, model=RejectedLines | Problem),
}


@router.post(
    "/import",
    response_model=ImportResult,
    responses=IMPORTED,
    openapi_extra={"requestBody": BODY, **KEY_HEADER},
)
@accepts(*FORMATS)
def import_items(
    request: Request,
    catalogue: CatalogueDep,
    transfers: TransfersDep,
    dry_run: Annotated[bool, Depends(_take_import_turn, scope="function")],
) -> Response:
    """Create items, and replace those whose id is given: all of a file of any length, or nothing.

    What an export has written can be imported as it is; its times and versions count for nothing.
    """
    file_format = FORMATS[read_media_type(request.headers)]
    upload = Upload(request, patience_seconds=transfers.patience_seconds)

    def run(unit: Catalogue) -> Response:
        created, updated = unit.import_items(upload, file_format, dry_run=dry_run)
        return Response(ImportResult(created=created, updated=updated).model_dump_json(), media_type=JSON)

    # The body is gone after the first try.
    return Once(catalogue, upload.claim())(run, tries=1)


@router.get("/export", response_class=Response, responses=FILE)
def export_items(
    catalogue: CatalogueDep,
    transfers: TransfersDep,
    # Until the file has been sent.
    query: Annotated[ExportQuery, Depends(_take_export_turn, scope="request")],
) -> Response:
    """All items that the filters choose in one file, oldest first, as they were at one moment."""
    chunks = _begin_export(catalogue, query)
    # What fails at the start can still be answered with a problem.
    next(chunks)
    return PatientStream(
        chunks,
        patience_seconds=transfers.patience_seconds,
        media_type=MEDIA_TYPES[query.format],
        headers=_name_file(query.format),
    )


@router.head("/export", include_in_schema=False)
async def describe_export(query: Annotated[ExportQuery, Query()]) -> Response:
    """What a GET would answer, but for the file."""
    return StreamingResponse((), media_type=MEDIA_TYPES[query.format], headers=_name_file(query.format))


def _begin_export(catalogue: Catalogue, query: ExportQuery) -> Generator[bytes, None, None]:
    """The file, after an empty piece when PostgreSQL has begun to send it."""
    with closing(catalogue.export_items(query.format, query)) as chunks:
        first = next(chunks, b"")
        yield b""
        yield first
        yield from chunks


def _name_file(file_format: Format) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="items.{file_format}"'}
