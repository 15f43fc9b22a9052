"""One SQL statement per function. Nothing here commits.

changes     the log of changes
items       single items, and the bulk load
pages       items in pages, filtered and sorted
epoch       the cache's epoch
"""

from service.crud.changes import (
    add_mark,
    delete_changes,
    expire_mark,
    find_feed_end,
    find_feed_start,
    list_changes,
)
from service.crud.epoch import bump_cache_epoch, find_server_start
from service.crud.items import copy_items, delete_item, find_item, insert_item, replace_item
from service.crud.pages import count_items, list_page, matching

__all__ = [
    "add_mark",
    "bump_cache_epoch",
    "copy_items",
    "count_items",
    "delete_changes",
    "delete_item",
    "expire_mark",
    "find_feed_end",
    "find_feed_start",
    "find_item",
    "find_server_start",
    "insert_item",
    "list_changes",
    "list_page",
    "matching",
    "replace_item",
]
