"""Entity tags (RFC 9110, section 8.8.3)."""

from datetime import datetime
from hashlib import blake2b


def version_tag(version: int, changed_at: datetime) -> str:
    """The strong tag of a row: its version, and when it got it, for a row that was deleted and stored anew."""
    return f'"{version}-{int(changed_at.timestamp() * 1_000_000):x}"'


def content_tag(body: bytes) -> str:
    """The strong tag of an answer that has no version of its own."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'
