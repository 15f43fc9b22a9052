"""Queries that hold what the address knows, once, in percent-encoded UTF-8 (RFC 3986), and nothing else."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

from service.exact_json import find_character_fault

BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def find_query_faults(query: bytes, known: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Pairs of a parameter and what is wrong with it. `known` maps each name to whether it may be given repeatedly."""
    seen: set[str] = set()
    for pair in filter(None, query.split(b"&")):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decode(raw_name)
        if name is None:
            yield "", "The query has a parameter whose name is not percent-encoded UTF-8 text."
        elif name not in known:
            yield name, f"is not a parameter of this address, which takes {', '.join(known) or 'none'}"
        elif _decode(raw_value) is None:
            yield name, "must be percent-encoded UTF-8 text without U+0000"
        elif name in seen and not known[name]:
            yield name, "must be given once"
        seen.add(name or "")


def _decode(raw: bytes) -> str | None:
    if BROKEN_ESCAPE.search(raw):
        return None
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None
    return None if find_character_fault(text) else text
