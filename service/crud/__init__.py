"""One SQL statement per function. Nothing here commits.

items       single items, and the bulk load
batch       many items at once
epoch       the cache's epoch
"""

from service.crud.batch import delete_items, insert_items, lock_items, update_items
from service.crud.epoch import bump_cache_epoch, find_server_start
from service.crud.items import copy_items, delete_item, find_item, insert_item, list_items, update_item

__all__ = [
    "bump_cache_epoch",
    "copy_items",
    "delete_item",
    "delete_items",
    "find_item",
    "find_server_start",
    "insert_item",
    "insert_items",
    "list_items",
    "lock_items",
    "update_item",
    "update_items",
]
