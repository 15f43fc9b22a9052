"""What has to be true of an entity tag for a write to happen (RFC 9110, section 13.1). Tags keep their quotes."""

import re
from dataclasses import dataclass

# One element of a list, which may be empty (section 5.6.1). Possessive, or a long run of blanks would take its square.
_ELEMENT = re.compile(r'[ \t]*+((?:W/)?"[\x21\x23-\x7e\x80-\xff]*+")?+[ \t]*+(?:,|\Z)')
ANY = "*"
# The same for readers of the document, in a form that every dialect of regular expressions reads alike.
_ANY_TAG = r'(W/)?"[!#-~\u0080-\u00ff]*"'
TAGS = rf"^([ \t]*\*[ \t]*|[ \t,]*({_ANY_TAG}[ \t]*(,[ \t,]*{_ANY_TAG}[ \t]*)*)?[ \t,]*)$"

Tags = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Precondition:
    """The item's tag is `one_of` these (None: any will do) and `none_of` those (None: there must be no item)."""

    one_of: Tags | None = None
    none_of: Tags | None = ()


UNCONDITIONAL = Precondition()


def parse_if_match(field: str) -> Tags | None:
    """The tags that will do, None for `*`; weak ones never do, so they are left out. Raises ValueError."""
    tags = _parse_tags(field)
    return None if tags is None else tuple(tag for tag in tags if not tag.startswith("W/"))


def parse_if_none_match(field: str) -> Tags | None:
    """The tags that will not do, None for `*`; weak or strong is all the same. Raises ValueError."""
    tags = _parse_tags(field)
    return None if tags is None else tuple(tag.removeprefix("W/") for tag in tags)


def _parse_tags(field: str) -> list[str] | None:
    if field.strip(" \t") == ANY:
        return None
    tags: list[str] = []
    end = 0
    while end < len(field):
        element = _ELEMENT.match(field, end)
        if element is None:
            raise ValueError("not a list of entity tags")
        tags += filter(None, element.groups())
        end = element.end()
    return tags
