"""The corpus of hostile inputs, and the endpoints that all of them are tried on.

A new endpoint is a line in ENDPOINTS. Each attack replaces one part of a good request; it says which endpoints have
that part, the status of the answer, and with 422 the one place that `errors` must name. `hostile_parts` has those for
the parts that only some endpoints have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Literal

from tests.api.raw_requests import HOST, Headers, RawRequest

Shape = Literal["item", "patch", "other", "file"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address; `{id}` stands for an item. One that reads JSON has a good `body`, whose `shape` says its members."""

    method: str
    path: str
    body: bytes | None = None
    shape: Shape = "other"
    media_type: bytes = b"application/json"

    def request(self, item_id: int) -> RawRequest:
        """A request that is answered with success."""
        path = self.path.replace("{id}", str(item_id)).encode()
        if self.body is None:
            return RawRequest(self.method, path)
        return RawRequest(self.method, path, headers=(HOST, (b"content-type", self.media_type)), chunks=(self.body,))


ITEM = b'{"name": "Widget", "description": "A useful widget", "price": 10.99}'
JSON = (b"content-type", b"application/json")
ENDPOINTS = [
    Endpoint("GET", "/items/"),
    Endpoint("HEAD", "/items/"),
    Endpoint("POST", "/items/", ITEM, "item"),
    Endpoint("GET", "/items/{id}"),
    Endpoint("HEAD", "/items/{id}"),
    Endpoint("PUT", "/items/{id}", ITEM, "item"),
    Endpoint("PATCH", "/items/{id}", ITEM, "patch"),
    Endpoint("DELETE", "/items/{id}"),
    Endpoint("POST", "/items/batch", b'{"operations": [{"op": "create", "item": %s}]}' % ITEM),
    Endpoint("GET", "/items/changes"),
    Endpoint("HEAD", "/items/changes"),
    Endpoint("GET", "/items/export"),
    Endpoint("HEAD", "/items/export"),
    Endpoint("POST", "/items/import", ITEM, "file", b"application/x-ndjson"),
    Endpoint("GET", "/health/live"),
    Endpoint("GET", "/health/ready"),
    Endpoint("GET", "/metrics"),
    Endpoint("GET", "/problems/"),
    Endpoint("GET", "/problems/invalid-request"),
    Endpoint("GET", "/docs"),
    Endpoint("GET", "/docs/start.js"),
]


@dataclass(frozen=True, slots=True)
class Attack:
    """What to put in place of a part of a good request, and how that is answered."""

    name: str
    status: int
    pointer: str | None = None
    path: bytes | None = None
    query: bytes | None = None
    item_id: bytes | None = None
    headers: Headers | None = None  # Host is one of them, unless they are only for some endpoints
    body: bytes | None = None
    method: str | None = None
    shapes: tuple[Shape, ...] = ("item", "patch", "other")
    only: tuple[str, ...] = ()  # the endpoints that have this part
    members: Mapping[str, object] = field(default_factory=dict)  # of the document, beside those of every problem

    def fits(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint has the part that is replaced."""
        if self.only:
            return f"{endpoint.method} {endpoint.path}" in self.only
        if self.path is not None or self.method is not None:
            return endpoint is ENDPOINTS[0]
        if self.item_id is not None:
            return "{id}" in endpoint.path
        if self.body is not None or self.name.startswith("type"):
            return endpoint.body is not None and endpoint.shape in self.shapes
        # A file is streamed, so it may be of any length.
        return self.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or endpoint.shape != "file"

    def apply(self, endpoint: Endpoint, item_id: int) -> RawRequest:
        """The hostile request."""
        good = endpoint.request(item_id)
        if self.item_id is not None:
            good = replace(good, raw_path=endpoint.path.encode().replace(b"{id}", self.item_id))
        if self.headers is not None:
            others = () if self.name.startswith("type") else good.headers if self.only else good.headers[1:]
            good = replace(good, headers=(*others, *self.headers))
        if self.body is not None:
            good = replace(good, chunks=(self.body,))
        return replace(
            good,
            method=self.method or good.method,
            raw_path=self.path or good.raw_path,
            query=good.query if self.query is None else self.query,
        )


# Texts that are no JSON at all.
BROKEN = [
    *(
        b"",
        b" ",
        b"\n\t\r ",
        b"{",
        b"[",
        b"}",
        b"]",
        b'"',
        b"{]",
        b"[}",
        b"nul",
        b"True",
        b"'a'",
        b"{'a': 1}",
        b"{a: 1}",
    ),
    *(
        b'{"a" 1}',
        b'{"a": 1,}',
        b'{"a": 1} {}',
        b'{"a": 1}x',
        b"[1,]",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"1e",
        b"--1",
    ),
    *(b"1_000", b"// a\n{}", b"/* a */ {}", b'{"a": "\t"}', b'{"a": "\n"}', b'{"a": "\x00"}', b'{"a": "\\x41"}'),
    *(b'{"a": "\\u12"}', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\xfe\xff\x00{\x00}", b"\x00", b"\x1f\x8b\x08"),
    *(
        b'{"a": "\xff"}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xf4\x90\x80\x80"}',
        b'{"a": "\xe2\x82"}',
    ),
    *(b"[" * 400_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
]
# JSON that not all readers read alike, or that nothing can store, and the place of the fault.
AMBIGUOUS: list[tuple[bytes, str]] = [
    *((b'{"a": %s}' % text, "/a") for text in (b"NaN", b"Infinity", b"-Infinity", b"1e99999999999999999999")),
    *((b'{"a": %s}' % text, "/a") for text in (b"9223372036854775808", b"-9223372036854775809", b"1" * 5_000)),
    *((b'{"a": %s}' % text, "/a") for text in (b'"\\u0000"', b'"\\ud800"', b'"\\udc00x"', b'"\\ud800\\ud800"')),
    (b'{"a": {"b": [1, NaN]}}', "/a/b/1"),
    (b'{"a": 1, "a": 1}', "/a"),
    (b'{"a": 1, "\\u0061": 1}', "/a"),
    (b'{"a": [{"b~": {"/": 1, "/": 2}}]}', "/a/0/b~0/~1"),
    (b'{"\\ud800": 1}', ""),
    (b'{"a": {"\\u0000": 1}}', "/a"),
]
# Members of an item: no two of them, and nothing that the schema does not allow.
MEMBERS: list[tuple[str, bytes]] = [
    *(("name", text) for text in (b"null", b"1", b"1.5", b"true", b"[]", b"{}", b'""')),
    *(("name", text) for text in (b'"' + b"x" * 201 + b'"', b'["x"]')),
    *(("description", text) for text in (b"1", b"false", b"[]", b"{}", b'"' + b"x" * 10_001 + b'"')),
    *(("price", text) for text in (b"null", b'"10.99"', b'""', b"true", b"[]", b"{}", b"[1]", b'{"amount": 1}')),
    *(("price", text) for text in (b"-1", b"-0.01", b"0.001", b"1e-3", b"10.999", b"10000000000", b"9999999999.991")),
    *(("price", text) for text in (b"1e10", b"1e999", b"-1e999", b"1e-400", b"1e999999999", b"1e-999999999")),
    *((name, b"1") for name in ("id", "version", "created_at", "updated_at", "Name", "__proto__", "name ", "$ref")),
]
TYPES = [
    *(b"", b"text/plain", b"text/json", b"application/xml", b"application/x-www-form-urlencoded"),
    *(b"multipart/form-data; boundary=x", b"application/octet-stream", b"application/jsonp", b"application/json-seq"),
    *(b"application/json, application/json", b"application", b"json", b"*/*", b"application/*", b"/", b";", b"\xff"),
    *(b"application/json; charset=latin-1", b"application/json; charset=utf-16", b'application/json; charset="utf-32"'),
]
QUERIES: list[tuple[bytes, str]] = [
    *(
        (b"unknown=1", "unknown"),
        (b"unknown", "unknown"),
        (b"=1", ""),
        (b"Limit=1", "Limit"),
        (b"limit%20=1", "limit "),
    ),
    *((b"limit[]=1", "limit[]"), (b"__proto__=1", "__proto__"), (b"%E2%82%AC=1", "€"), (b"a+b=1", "a b")),
    *((b"%zz=1", ""), (b"%=1", ""), (b"%f=1", ""), (b"%ff=1", ""), (b"%ed%a0%80=1", ""), (b"%c0%80=1", "")),
    *((b"%00=1", ""), (b"\xff=1", ""), (b"x" * 4000, "x" * 4000), (b";limit=1", ";limit")),
]
LIMITS = [
    *(b"0", b"-1", b"1001", b"9223372036854775808", b"1" * 5_000, b"1.0", b"1e2", b"", b"+1", b"%2B1", b"%201"),
    *(b"1%20", b"0x10", b"1_0", b"ten", b"null", b"NaN", b"%D9%A1", b"%EF%BC%91", b"1,2", b"1;2", b"%00", b"1%00"),
    *(b"%ff", b"%zz"),
]
IDS = [
    *(b"0", b"-1", b"9223372036854775808", b"-9223372036854775809", b"1" * 5_000, b"1.0", b"1e0", b"0x1", b"1_0"),
    *(b"+1", b"%201", b"1%20", b"%D9%A1", b"%EF%BC%91", b"%00", b"1%00", b"%ff", b"%ed%a0%80", b"%zz", b"one", b"NaN"),
    *(b"null", b"undefined", b"'%20OR%201=1--", b"%3Cscript%3E", b"1%0a", b"1;2", b"{id}", b"*", b"%F0%9F%91%8D"),
]
PATHS = [
    *(b"/nowhere", b"/items/1/2", b"//", b"//items/", b"/items//", b"/ITEMS/", b"/items/..%2f..%2fetc%2fpasswd"),
    *(b"/.env", b"/%00", b"/%ff", b"/%2e%2e/", b"/items/1%2F2", b"/items%00/", b"/problems/none", b"/problems/%00"),
    *(b"/docs/x", b"/docs/..%2fmain.py"),
]
HOSTS = [b"", b"[", b"a b", b"a/b", b"a@b", b"a:b", b"[::1", b"\xff", b"a#b", b"a?b", b"a:1:2", b"[1]x"]
HEADERS: list[tuple[int, Headers]] = [
    (400, ()),
    (400, (HOST, HOST)),
    *((400, ((b"host", value),)) for value in HOSTS),
    (413, (HOST, (b"content-length", b"1048577"))),
    (413, (HOST, (b"content-length", b"9" * 40))),
    (431, (HOST, (b"cookie", b"x" * 40_000))),
    (431, (HOST, *((b"x-%d" % number, b"x") for number in range(8_000)))),
    (431, (HOST, (b"x" * 40_000, b""))),
]
CODINGS = [b"gzip", b"br", b"deflate", b"zstd", b"identity, gzip", b"GZIP", b"compress", b"aes128gcm", b"nonsense"]
METHODS = ["PATCH", "TRACE", "NONSENSE", "get", "PROPFIND"]


def list_attacks() -> Iterator[Attack]:
    """All of them, each under a name of its own."""
    yield from _bodies()
    yield from _content_headers()
    yield from _addresses()
    for number, (status, headers) in enumerate(HEADERS):
        yield Attack(f"headers {number}", status, headers=headers)
    for method in METHODS:
        yield Attack(f"method {method}", 405, method=method)


def _bodies() -> Iterator[Attack]:
    for number, text in enumerate(BROKEN):
        yield Attack(f"broken {number}", 422, "", body=text)
    for number, (text, pointer) in enumerate(AMBIGUOUS):
        yield Attack(f"ambiguous {number}", 422, pointer, body=text)
    for number, (member, text) in enumerate(MEMBERS):
        others = {"name": b'"x"', "price": b"1", member: text}
        body = b", ".join(b'"%s": %s' % (name.encode(), value) for name, value in others.items())
        yield Attack(f"member {number}", 422, f"/{member}", body=b"{%s}" % body, shapes=("item", "patch"))
    yield Attack("deep list", 422, body=b"[" * 900 + b"]" * 900)
    yield Attack("deep object", 422, body=b'{"a":' * 900 + b"1" + b"}" * 900)
    yield Attack("too long", 413, body=b'"%s"' % (b"x" * 2**20))


def _content_headers() -> Iterator[Attack]:
    for value in TYPES:
        yield Attack(f"type {value!r}", 415, headers=(HOST, (b"content-type", value)))
    yield Attack("type missing", 415, headers=(HOST,))
    yield Attack("type twice", 415, headers=(HOST, JSON, JSON))
    for value in CODINGS:
        yield Attack(f"type compressed {value!r}", 415, headers=(HOST, JSON, (b"content-encoding", value)))


def _addresses() -> Iterator[Attack]:
    for query, pointer in QUERIES:
        yield Attack(f"query {query[:20]!r}", 422, pointer, query=query)
    for value in LIMITS:
        yield Attack(f"limit {value[:20]!r}", 422, "limit", query=b"limit=" + value, only=("GET /items/",))
    yield Attack("limit twice", 422, "limit", query=b"limit=1&limit=2", only=("GET /items/",))
    for value in IDS:
        is_number = value.isdigit()
        place = "item_id" if is_number else None
        yield Attack(f"id {value[:20]!r}", 422 if is_number else 404, place, item_id=value)
    for path in PATHS:
        yield Attack(f"path {path!r}", 404, path=path)
    yield Attack("path long", 414, path=b"/items/" + b"1" * 9_000)
    yield Attack("query long", 414, query=b"x" * 9_000)
