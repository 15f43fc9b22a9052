"""The feed of changes, followed from cursor to cursor."""

import pytest

from service.client import ApiError, Change, ItemClient

pytestmark = pytest.mark.db(isolation="clone")


def test_whoever_keeps_the_cursor_is_told_each_change_once(items: ItemClient) -> None:
    (begin,) = items.changes("now")
    kept, gone = (items.create(name=f"Widget {number}", price=number) for number in range(2))
    replaced = items.replace(kept.id, name="Gadget", price=3)
    items.delete(gone.id)

    pages = list(items.changes(begin.cursor, limit=3))

    assert begin.changes == ()
    assert [len(page.changes) for page in pages] == [3, 1]
    assert [change for page in pages for change in page.changes] == [
        Change(kept.id, 1, deleted=False, item=replaced),
        Change(gone.id, 1, deleted=False, item=None),
        Change(kept.id, 2, deleted=False, item=replaced),
        Change(gone.id, 1, deleted=True, item=None),
    ]
    assert [page.changes for page in items.changes(pages[-1].cursor)] == [()]


def test_without_a_cursor_the_feed_begins_with_all_that_is_known(items: ItemClient) -> None:
    item = items.create(name="Widget", price=1)

    (page,) = items.changes()

    assert page.changes == (Change(item.id, 1, deleted=False, item=item),)


def test_a_cursor_that_is_none_is_refused(items: ItemClient) -> None:
    with pytest.raises(ApiError) as caught:
        next(items.changes("yesterday"))

    assert caught.value.problem.status == 400
