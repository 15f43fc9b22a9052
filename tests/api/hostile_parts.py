"""Hostile inputs for the parts that only some endpoints have: operations, filters, cursors, files, tags, keys."""

from collections.abc import Iterator, Mapping

from service.filters import ListQuery, position_shape
from service.web.cursors import make_cursor
from tests.api.hostile_input import ITEM, Attack
from tests.api.raw_requests import Headers

BATCH = ("POST /items/batch",)
PATCH = ("PATCH /items/{id}",)
CHANGES = ("GET /items/changes", "HEAD /items/changes")
EXPORT = ("GET /items/export", "HEAD /items/export")
LIST = ("GET /items/", "HEAD /items/")
IMPORT = ("POST /items/import",)
WRITES = ("PUT /items/{id}", *PATCH, "DELETE /items/{id}")
OBJECTS = ("POST /items/", "PUT /items/{id}", *PATCH, *BATCH)
POSTS = ("POST /items/", *BATCH, *IMPORT)

CREATE = b'{"op": "create", "item": %s}' % ITEM
# One operation, and the place of its fault within it.
OPERATIONS: list[tuple[bytes, str]] = [
    *((text, "") for text in (b"null", b"1", b"1.5", b"true", b'"create"', b"[]", b"{}", b"[%s]" % CREATE)),
    *((b'{"op": %s, "id": 1}' % op, "") for op in (b"null", b"1", b"1.5", b'""', b'"upsert"', b'"delete "')),
    *((b'{"op": %s, "id": 1}' % op, "") for op in (b'["delete"]', b'{"delete": 1}', b"true", b'"__class__"')),
    (b'{"id": 1}', ""),
    (b'{"op": "delete"}', "/id"),
    *((b'{"op": "delete", "id": %s}' % value, "/id") for value in (b"0", b"-1", b"1.0", b"1.5", b"1e0", b'"1"', b'""')),
    *((b'{"op": "delete", "id": %s}' % value, "/id") for value in (b"true", b"null", b"[]", b"[1]", b"{}", b"NaN")),
    *((b'{"op": "delete", "id": %s}' % value, "/id") for value in (b"9223372036854775808", b"-9223372036854775809")),
    *((b'{"op": "delete", "id": 1, "if_match": %s}' % tag, "/if_match") for tag in (b"1", b"true", b"[]", b'["*"]')),
    *((b'{"op": "delete", "id": 1, "if_match": "%s"}' % tag, "/if_match") for tag in (b"1-0", b"**", b"*, *", b"W/*")),
    *((b'{"op": "delete", "id": 1, "if_match": "%s"}' % tag, "/if_match") for tag in (b'\\"', b"\\u20ac", b"\\u0000")),
    (b'{"op": "delete", "id": 1, "item": %s}' % ITEM, "/item"),
    (b'{"op": "delete", "id": 1, "cascade": true}', "/cascade"),
    (b'{"op": "delete", "id": 1, "id": 1}', "/id"),
    (b'{"op": "create", "id": 1, "item": %s}' % ITEM, "/id"),
    (b'{"op": "create", "if_match": "*", "item": %s}' % ITEM, "/if_match"),
    (b'{"op": "create"}', "/item"),
    *((b'{"op": "create", "item": %s}' % item, "/item") for item in (b"null", b"1", b"1.5", b'"x"', b"[]", b"true")),
    (b'{"op": "create", "item": {"name": "x", "price": 1, "id": 1}}', "/item/id"),
    (b'{"op": "create", "item": {"name": "\\ud800", "price": 1}}', "/item/name"),
    (b'{"op": "create", "item": {"name": "x", "price": 1e999}}', "/item/price"),
    (b'{"op": "replace", "id": 1}', "/item"),
    (b'{"op": "replace", "id": 1, "item": {"name": "x"}}', "/item/price"),
    *((b'{"op": "update", "id": 1, "item": %s}' % item, "/item") for item in (b"null", b"1", b"1.5", b"[]", b'"x"')),
    (b'{"op": "update", "id": 1, "item": {"price": null}}', "/item/price"),
    (b'{"op": "update", "id": 1, "item": {"version": 2}}', "/item/version"),
]
# Bodies that are no batch at all.
BATCHES: list[tuple[bytes, str]] = [
    (b"[%s]" % CREATE, ""),
    *((b'{"operations": %s}' % text, "/operations") for text in (b"null", b"1", b"1.5", b'"x"', b"{}", b"[]", CREATE)),
    (b"{}", "/operations"),
    (b'{"operations": [%s]}' % b", ".join([CREATE] * 1_001), "/operations"),
    (b'{"operations": [%s], "atomic": false}' % CREATE, "/atomic"),
    (b'{"operations": [%s], "operations": []}' % CREATE, "/operations"),
]
# Operations of the right shape that cannot be done.
REFUSED = [
    (404, b'{"op": "delete", "id": 9223372036854775807}'),
    (404, b'{"op": "update", "id": 9223372036854775807, "if_match": "*", "item": {}}'),
    (404, b'{"op": "replace", "id": 9223372036854775807, "item": %s}' % ITEM),
]
FILTERS: dict[str, list[bytes]] = {
    "q": [b"", b"%20", b"%09%E3%80%80", b"x" * 201, b"%00", b"x" + b"%20-x" * 21],
    "name": [b"", b"x" * 201, b"x%00"],
    "min_price": [b"", b"-1", b"-0", b"0.001", b"10000000000", b"1e2", b"%2B1", b"1,00", b"NaN", b"0x1", b"%D9%A1"],
    "max_price": [b"null", b"Infinity", b"9999999999.991", b"1_0", b"%201", b".5", b"1.", b"1" * 5_000, b"$1"],
    "updated_since": [
        *(b"", b"now", b"null", b"1700000000", b"2026-11-25", b"2026-11-25T08:00:00", b"2026-11-25T08:00Z"),
        *(b"2026-11-25T08:00:00+01:00", b"2026-13-01T00:00:00Z", b"2026-02-30T00:00:00Z", b"2026-11-25T25:00:00Z"),
        *(b"0000-01-01T00:00:00Z", b"10000-01-01T00:00:00Z", b"0001-01-01T00:00:00%2B14:00", b"-2026-11-25T08:00:00Z"),
        *(b"9999-12-31T23:59:59-14:00", b"2026-11-25T08:00:00%2B99:00", b"2026-11-25T08:00:00.Z"),
    ],
}
SORTS = [b"", b"Id", b"--id", b"%2Bid", b"id,name", b"price%20desc", b"description", b"version", b"id;name", b"1", b"-"]
SWITCHES = [b"", b"null", b"2", b"-1", b"maybe", b"truee", b"%20true", b"[]"]
FORMATS = [b"", b"xml", b"json", b"NDJSON", b"ndjson,csv", b"csv%20", b"text/csv", b"..%2fcsv"]
FIRST = make_cursor((1,), position_shape("id"), ListQuery().scope).encode()
CURSORS = [
    *(b"", b"%20", b"0", b"x", b"null", b"1", b"AAAA", b"====", b"a+b", b"%F0%9F%91%8D", b"..%2f", b"A" * 6_001),
    *(FIRST[:-1], FIRST + b"A", b"A" + FIRST, FIRST.swapcase()),
]
# Good ones, of another list.
FOREIGN = [b"&sort=-id", b"&sort=name", b"&name=x", b"&q=x", b"&min_price=0", b"&updated_since=2026-11-25T08:00:00Z"]
TAGS = [b"1-0", b'"', b'"a', b'a"', b"W/", b"W/*", b"*, *", b'"a" "b"', b'w/"a"', b"null", b'"a b"', b"\xff", b'"\x7f"']
KEYS: list[Headers] = [
    *(((b"idempotency-key", key),) for key in (b"", b" ", b"a b", b"x" * 256, b"\xff", b"\x7f", b"a\tb")),
    ((b"idempotency-key", b"a"), (b"idempotency-key", b"a")),
]
# A line of a file, and the place of its fault within it.
LINES: list[tuple[bytes, str]] = [
    *((text, "") for text in (b"{", b"null", b"1.5", b"[]", b"[%s]" % ITEM, b'"x"', b"\xff")),
    (b'{"name": "x", "price": NaN}', "/price"),
    (b'{"name": "x", "price": 1, "price": 1}', "/price"),
    (b'{"name": "\\ud800", "price": 1}', "/name"),
    (b'{"name": "x", "price": 1, "id": 0}', "/id"),
    (b'{"name": "x", "price": 1, "id": 9223372036854775808}', "/id"),
    (b'{"name": "x", "price": 1, "colour": "red"}', "/colour"),
]


def list_part_attacks() -> Iterator[Attack]:
    """All of them, each under a name of its own."""
    yield from _batches()
    yield from _queries()
    for number, text in enumerate((b"null", b"1", b"1.5", b"-1e-7", b"true", b'"x"', b"[]", b"[{}]")):
        yield Attack(f"object {number}", 422, "", body=text, only=OBJECTS)
    for header in (b"if-match", b"if-none-match"):
        for value in TAGS:
            yield Attack(f"tag {header!r} {value!r}", 400, headers=((header, value),), only=WRITES)
    for number, headers in enumerate(KEYS):
        yield Attack(f"key {number}", 400, headers=headers, only=POSTS)
    for number, (text, pointer) in enumerate(LINES):
        yield Attack(f"line {number}", 422, f"/1{pointer}", body=text, only=IMPORT, members={"rejected": 1})


def _batches() -> Iterator[Attack]:
    for number, (text, pointer) in enumerate(BATCHES):
        yield Attack(f"batch {number}", 422, pointer, body=text, only=BATCH)
    for number, (text, step) in enumerate(OPERATIONS):
        yield _operation(f"operation {number}", 422, text, f"/operations/1{step}")
    for number, (status, text) in enumerate(REFUSED):
        yield _operation(f"refused operation {number}", status, text)


def _operation(name: str, status: int, text: bytes, pointer: str | None = None) -> Attack:
    members: Mapping[str, object] = {"index": 1, "pointer": "/operations/1"}
    body = b'{"operations": [%s, %s]}' % (CREATE, text)
    return Attack(name, status, pointer, body=body, only=BATCH, members=members)


def _queries() -> Iterator[Attack]:
    for name, values in FILTERS.items():
        for value in values:
            yield _parameter(name, value, only=(*LIST, *EXPORT))
    yield Attack("prices", 422, "max_price", query=b"min_price=2&max_price=1.99", only=(*LIST, *EXPORT))
    for name, values, only in (
        ("sort", SORTS, LIST),
        ("include_total", SWITCHES, LIST),
        ("dry_run", SWITCHES, IMPORT),
        ("format", FORMATS, EXPORT),
        ("limit", [b"1"], EXPORT),
        ("cursor", [FIRST], (*EXPORT, *CHANGES)),
    ):
        for value in values:
            yield _parameter(name, value, only=only)
    for value in CURSORS:
        yield _parameter("cursor", value, status=400, only=LIST)
        yield _parameter("since", value, status=400, only=CHANGES)
    yield _parameter("since", FIRST, status=400, only=CHANGES)
    for others in FOREIGN:
        yield _parameter("cursor", FIRST + others, status=400, only=LIST)


def _parameter(name: str, value: bytes, *, only: tuple[str, ...], status: int = 422) -> Attack:
    query = name.encode() + b"=" + value
    return Attack(f"{only[0]} {name} {query[-60:]!r}", status, name if status == 422 else None, query=query, only=only)
