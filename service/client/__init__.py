"""A typed client of the item service, on requests. It knows the HTTP interface, and nothing else of `service`."""

try:
    import requests  # noqa: F401  # only to say what is missing
    import tenacity  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"The client needs {error.name}, which is not installed: pip install requests tenacity", name=error.name
    ) from error

from .errors import (
    ApiError,
    ClientError,
    ConflictError,
    Fault,
    GoneError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    Problem,
    TransportError,
    UnavailableError,
)
from .item_client import ItemClient
from .items import Change, ChangePage, Changes, Filter, ImportCounts, Item, Operation, Page, Query, Record, Values
from .transport import Retries

__all__ = [
    "ApiError",
    "Change",
    "ChangePage",
    "Changes",
    "ClientError",
    "ConflictError",
    "Fault",
    "Filter",
    "GoneError",
    "ImportCounts",
    "InvalidRequestError",
    "Item",
    "ItemClient",
    "NotFoundError",
    "Operation",
    "Page",
    "PreconditionFailedError",
    "Problem",
    "Query",
    "Record",
    "Retries",
    "TransportError",
    "UnavailableError",
    "Values",
]
