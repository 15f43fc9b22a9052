"""The client: a method for each thing that the service does."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import urlencode, urljoin
from uuid import uuid4

import requests

from .errors import NotFoundError, PreconditionFailedError, Problem, TransportError
from .exact_json import decode, encode, encode_lines, encode_query
from .items import Change, ChangePage, Changes, Filter, ImportCounts, Item, Operation, Page, Query, Record, Values
from .transport import Call, Retries, Transport, translated_trouble

JSON = {"Content-Type": "application/json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
CHUNK_BYTES = 65_536
PRECONDITION_FAILED = 412
DEFAULT_RETRIES = Retries()


class ItemClient:
    """A client of the service at `base_url`. Use it in a `with` block, or `close` it.

    `timeout_seconds` bounds each wait for the service, not a call as a whole: that is what `retries` is for.
    A `session` of the caller's own brings certificates, proxies or authentication, and is left open. As requests does
    not promise that a session serves several threads, each should have a client of its own.

    Every method raises TransportError, UnavailableError and other ClientErrors, after retries where a second try is
    safe: reads; PUT and DELETE (RFC 9110, section 9.2.2); updates of an Item, for they carry If-Match; and POST, under
    one Idempotency-Key for all tries of a call.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float = 10,
        retries: Retries = DEFAULT_RETRIES,
        session: requests.Session | None = None,
    ) -> None:
        self._items = base_url.rstrip("/") + "/items/"
        self._session = session or requests.Session()
        self._is_session_ours = session is None
        self._retries = retries
        self._transport = Transport(self._session, timeout_seconds=timeout_seconds, retries=retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, unless the session is the caller's."""
        if self._is_session_ours:
            self._session.close()

    def create(self, **values: Unpack[Values]) -> Item:
        """Create an item; InvalidRequestError names what is wrong with its values."""
        return _read_item(self._post("", values))

    def get(self, item_id: int) -> Item:
        """The item as it is now; NotFoundError."""
        return _read_item(self._transport.send(Call("GET", f"{self._items}{item_id}")))

    def iterate(self, **query: Unpack[Query]) -> Iterator[Item]:
        """All items of a query, oldest first unless it sorts them. Never holds more than a page."""
        return (item for page in self.pages(**query) for item in page.items)

    def pages(self, **query: Unpack[Query]) -> Iterator[Page]:
        """The pages of a query, each asked for when it is taken."""
        for response in self._follow("", query):
            total = response.headers.get("X-Total-Count")
            yield Page(tuple(map(Item.read, _read_json(response))), None if total is None else int(total))

    def changes(self, since: str | None = None, *, limit: int = 100) -> Iterator[ChangePage]:
        """What was changed and deleted after a cursor, to the end that there is now; at least one page.

        Without a cursor: all that is still known. `now`: no changes, only the cursor. GoneError for a cursor that is
        too old; then, as at first, take the cursor of `now`, read the whole list, and go on from that cursor.
        """
        query = {"limit": limit} if since is None else {"since": since, "limit": limit}
        for response in self._follow("changes", query):
            changes = tuple(map(_read_change, _read_json(response)))
            yield ChangePage(changes, response.headers["X-Next-Cursor"])

    def replace(self, item: Item | int, **values: Unpack[Values]) -> Item:
        """Set all of an item, if it is still the one that was read; of an id alone, whatever it is now.

        NotFoundError, PreconditionFailedError, InvalidRequestError.
        """
        return _read_item(self._write("PUT", item, JSON, values))

    def update(self, item: Item | int, **changes: Unpack[Changes]) -> Item:
        """Set some members of an item (RFC 7396), if it is still the one that was read.

        Of an id alone: whatever it is now, and without retries. Raises what `replace` raises.
        """
        return _read_item(self._write("PATCH", item, MERGE_PATCH, changes))

    def edit(self, item_id: int, change: Callable[[Item], Changes]) -> Item:
        """Read an item and update it by what `change` makes of it; both again when somebody else was faster.

        Raises PreconditionFailedError when that goes on, and at once when the change may have been done, as after an
        answer that was lost: to do it twice could be wrong.
        """

        def attempt() -> Item:
            item = self.get(item_id)
            return self.update(item, **change(item))

        return self._retries.run(attempt, retry_when=_is_overtaken)

    def delete(self, item: Item | int) -> None:
        """Delete an item, if it is still the one that was read; of an id alone, whatever it is now.

        NotFoundError, unless it is a retry that finds the item gone; PreconditionFailedError.
        """
        try:
            self._write("DELETE", item)
        except NotFoundError as error:
            if not error.may_have_been_done:
                raise

    def batch(self, operations: Iterable[Operation]) -> list[Item | None]:
        """Up to 1,000 operations, all or none; what each made of its item, None for a deletion.

        The error that one operation causes has its `index` among `problem.extensions`.
        """
        body = {"operations": [self._describe(operation) for operation in operations]}
        return [
            None if result["item"] is None else Item.read(result["item"], result["etag"])
            for result in _read_json(self._post("batch", body))["results"]
        ]

    def import_items(
        self, records: Iterable[Record | Item], *, dry_run: bool = False, timeout_seconds: float = 300
    ) -> ImportCounts:
        """Create or replace all of `records`, which are streamed and never held together; or none of them.

        InvalidRequestError names the first lines that were rejected. Sent only once: the records are used up. The
        answer, which comes when the last record is stored, is waited for `timeout_seconds`.
        """
        lines = encode_lines(each.as_record() if isinstance(each, Item) else each for each in records)
        address = f"{self._items}import" + ("?dry_run=true" if dry_run else "")
        call = Call("POST", address, NDJSON, lines, is_repeatable=False, timeout_seconds=timeout_seconds)
        answer = _read_json(self._transport.send(call))
        return ImportCounts(answer["created"], answer["updated"])

    def export_items(self, **filters: Unpack[Filter]) -> Iterator[Item]:
        """All items that pass the filters, as they were at one moment, oldest first; read from the network as needed.

        TransportError when the connection ends before the last: begin anew.
        """
        address = f"{self._items}export?{urlencode({'format': 'ndjson', **encode_query(filters)})}"
        with translated_trouble(), self._transport.send(Call("GET", address, is_streamed=True)) as response:
            for line in response.iter_lines(CHUNK_BYTES):
                yield Item.read(decode(line))

    def _follow(self, path: str, query: Mapping[str, object]) -> Iterator[requests.Response]:
        """Pages, each asked for when it is taken: where the next one is, `Link` says (RFC 8288)."""
        address: str | None = f"{self._items}{path}?{urlencode(encode_query(query))}".removesuffix("?")
        while address:
            response = self._transport.send(Call("GET", address))
            yield response
            following = response.links.get("next")
            address = urljoin(response.url, following["url"]) if following else None

    def _describe(self, operation: Operation) -> dict[str, object]:
        members: dict[str, object] = {"op": operation.op}
        if isinstance(operation.target, Item):
            members |= {"id": operation.target.id, "if_match": self._find_tag(operation.target)}
        elif operation.target is not None:
            members["id"] = operation.target
        return members if operation.values is None else {**members, "item": operation.values}

    def _post(self, path: str, body: object) -> requests.Response:
        headers = {**JSON, "Idempotency-Key": str(uuid4())}
        return self._transport.send(Call("POST", self._items + path, headers, encode(body).encode()))

    def _write(
        self, method: str, item: Item | int, headers: Mapping[str, str] | None = None, body: object = None
    ) -> requests.Response:
        item_id, condition = (item.id, {"If-Match": self._find_tag(item)}) if isinstance(item, Item) else (item, {})
        call = Call(
            method,
            f"{self._items}{item_id}",
            {**(headers or {}), **condition},
            None if body is None else encode(body).encode(),
            is_repeatable=bool(condition) or method != "PATCH",
        )
        return self._transport.send(call)

    def _find_tag(self, item: Item) -> str:
        """Its entity tag. An item from a list has none: that is asked for, and holds if the item is still the same."""
        if item.etag is not None:
            return item.etag
        current = self.get(item.id)
        if current != item or current.etag is None:
            detail = f"Item {item.id} was changed since it was listed."
            problem = Problem("about:blank", "Precondition failed", PRECONDITION_FAILED, detail, f"/items/{item.id}")
            raise PreconditionFailedError(problem)
        return current.etag


def _read_item(response: requests.Response) -> Item:
    return Item.read(_read_json(response), response.headers.get("ETag"))


def _read_change(members: Mapping[str, Any]) -> Change:
    item = members["item"]
    return Change(members["id"], members["version"], members["deleted"], None if item is None else Item.read(item))


def _read_json(response: requests.Response) -> Any:  # noqa: ANN401  # whatever the service said
    try:
        return decode(response.content)
    except ValueError as error:
        media_type = response.headers.get("Content-Type", "something")
        raise TransportError(f"{response.url} answered with {media_type}, not with JSON") from error


def _is_overtaken(error: BaseException) -> bool:
    return isinstance(error, PreconditionFailedError) and not error.may_have_been_done
