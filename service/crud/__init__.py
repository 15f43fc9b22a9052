"""One SQL statement per function. Nothing here commits.

items       single items, and the bulk load
epoch       the cache's epoch
staging     the import of a file
export      the export to a file
"""

from service.crud.epoch import bump_cache_epoch, find_server_start
from service.crud.export import copy_csv, copy_ndjson
from service.crud.items import copy_items, delete_item, find_item, insert_item, list_items, replace_item
from service.crud.staging import (
    copy_staged,
    count_repeated_ids,
    count_staged,
    create_staging,
    drop_staging,
    find_highest_id,
    insert_staged,
    list_repeated_ids,
    list_staged_ids,
    pass_over_ids,
    write_staged_by_id,
)

__all__ = [
    "bump_cache_epoch",
    "copy_csv",
    "copy_items",
    "copy_ndjson",
    "copy_staged",
    "count_repeated_ids",
    "count_staged",
    "create_staging",
    "delete_item",
    "drop_staging",
    "find_highest_id",
    "find_item",
    "find_server_start",
    "insert_item",
    "insert_staged",
    "list_items",
    "list_repeated_ids",
    "list_staged_ids",
    "pass_over_ids",
    "replace_item",
    "write_staged_by_id",
]
