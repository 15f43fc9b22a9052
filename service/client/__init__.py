"""A typed client of the item service, on requests. It knows the HTTP interface, and nothing else of `service`."""

try:
    import requests  # noqa: F401  # only to say what is missing
    import tenacity  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"The client needs {error.name}, which is not installed: pip install 'item-service[client]'", name=error.name
    ) from error

from .errors import (
    ApiError,
    ClientError,
    ConflictError,
    Fault,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    Problem,
    TransportError,
    UnavailableError,
)
from .item_client import ItemClient
from .items import Changes, Filter, ImportCounts, Item, Page, Query, Record, Values
from .transport import Retries

__all__ = [
    "ApiError",
    "Changes",
    "ClientError",
    "ConflictError",
    "Fault",
    "Filter",
    "ImportCounts",
    "InvalidRequestError",
    "Item",
    "ItemClient",
    "NotFoundError",
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
