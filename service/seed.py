"""Items for demonstrations and measurements: many, plausible, in several scripts, and the same for the same seed."""

import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from service.schemas import ItemWrite

WORDS = Path(__file__).with_name("seed_words.toml")
# What shops write behind the point, the usual ending most often.
ENDINGS = ("99", "99", "99", "95", "90", "50", "49", "00")
UNDESCRIBED = 0.2
MAX_REMARKS = 4

Word = TypeVar("Word")


def generate_items(count: int, seed: int) -> Iterator[ItemWrite]:
    """`count` items; they begin with those of every smaller count. About a fifth have no description."""
    words = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    # Not for secrets. Of all that Random offers, only `random()` is promised to stay the same in every Python.
    rng = Random(seed)  # noqa: S311
    for _ in repeat(None, count):
        yield _make_item(rng, words)


def _make_item(rng: Random, words: dict[str, Any]) -> ItemWrite:
    language = _pick(rng, words["languages"])
    number = int(rng.random() * len(words["products"]))
    product = words["products"][number]
    name = language["name"].format(
        thing=language["things"][number], series=_pick(rng, words["series"]), quality=_pick(rng, language["qualities"])
    )
    # Validating what is made from valid words would double the time; a test does it instead.
    return ItemWrite.model_construct(
        name=name,
        description=_describe(rng, language, product["emoji"]),
        price=_make_price(rng, product["cheapest"], product["dearest"]),
    )


def _describe(rng: Random, language: dict[str, Any], emoji: str) -> str | None:
    if rng.random() < UNDESCRIBED:
        return None
    remarks = [_pick(rng, language["remarks"]) for _ in range(1 + int(rng.random() * MAX_REMARKS))]
    text: str = language["joint"].join(dict.fromkeys(remarks))
    return f"{emoji} {text}" if rng.random() < 1 / 3 else text


def _make_price(rng: Random, cheapest: int, dearest: int) -> Decimal:
    """Between the two, cheap ones more often."""
    # Products are the same on every machine; a power or a logarithm need not be.
    dear = rng.random()
    whole = cheapest + int((dearest - cheapest) * (dear * dear * dear))
    return Decimal(f"{whole}.{_pick(rng, ENDINGS)}")


def _pick(rng: Random, words: Sequence[Word]) -> Word:
    return words[int(rng.random() * len(words))]
