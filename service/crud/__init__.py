"""One SQL statement per function. Nothing here commits.

changes     the log of changes
items       single items, and the bulk load
batch       many items at once
pages       items in pages, filtered and sorted
epoch       the cache's epoch
answers     what requests with an Idempotency-Key were answered
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
from service.crud.items import copy_items, delete_item, find_item, insert_item, update_item
from service.crud.pages import count_items, list_page, matching

__all__ = [
    "add_mark",
    "bump_cache_epoch",
    "copy_items",
    "count_items",
    "delete_changes",
    "delete_expired_answers",
    "delete_item",
    "delete_items",
    "expire_mark",
    "find_answer",
    "find_feed_end",
    "find_feed_start",
    "find_item",
    "find_server_start",
    "insert_item",
    "insert_items",
    "list_changes",
    "list_page",
    "lock_items",
    "matching",
    "store_answer",
    "try_lock_key",
    "update_item",
    "update_items",
]
