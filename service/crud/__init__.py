"""One SQL statement per function. Nothing here commits.

changes     the log of changes
items       single items, and the bulk load
batch       many items at once
pages       items in pages, filtered and sorted
epoch       the cache's epoch
ids         the sequence of ids
answers     what requests with an Idempotency-Key were answered
staging     the import of a file
export      the export to a file
"""

from service.crud.answers import delete_expired_answers, find_answer, store_answer, try_lock_key
from service.crud.batch import delete_items, insert_items, lock_items, update_items
from service.crud.changes import (
    add_mark,
    delete_changes,
    expire_mark,
    find_feed_end,
    find_feed_start,
    list_changes,
)
from service.crud.epoch import bump_cache_epoch, find_server_start
from service.crud.export import copy_csv, copy_ndjson
from service.crud.ids import find_end_of_taken_ids, pass_over_ids
from service.crud.items import copy_items, delete_item, find_item, insert_item, update_item
from service.crud.pages import count_items, list_page, matching
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
    write_staged_by_id,
)

__all__ = [
    "add_mark",
    "bump_cache_epoch",
    "copy_csv",
    "copy_items",
    "copy_ndjson",
    "copy_staged",
    "count_items",
    "count_repeated_ids",
    "count_staged",
    "create_staging",
    "delete_changes",
    "delete_expired_answers",
    "delete_item",
    "delete_items",
    "drop_staging",
    "expire_mark",
    "find_answer",
    "find_end_of_taken_ids",
    "find_feed_end",
    "find_feed_start",
    "find_highest_id",
    "find_item",
    "find_server_start",
    "insert_item",
    "insert_items",
    "insert_staged",
    "list_changes",
    "list_page",
    "list_repeated_ids",
    "list_staged_ids",
    "lock_items",
    "matching",
    "pass_over_ids",
    "store_answer",
    "try_lock_key",
    "update_item",
    "update_items",
    "write_staged_by_id",
]
