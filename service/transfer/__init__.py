"""Files of items, line by line: bytes in, validated records out. Nothing here knows of SQL or HTTP.

lines          bytes to lines, none of them longer than is wise
ndjson         lines to the members of JSON objects (NDJSON, JSON Lines)
csv_records    lines to the fields of CSV records (RFC 4180)
records        what a record may hold, and the report of those that were rejected
"""

from service.transfer.records import (
    MAX_REPORTED_LINES,
    Format,
    ImportCounts,
    Intake,
    read_records,
)

__all__ = [
    "MAX_REPORTED_LINES",
    "Format",
    "ImportCounts",
    "Intake",
    "read_records",
]
