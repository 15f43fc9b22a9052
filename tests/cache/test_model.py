"""Every interleaving of the scheme, searched; and the scheme less each of its elements, found stale.

Whoever changes the scheme changes tests/cache/model.py first.
"""

import pytest

from tests.cache.model import Model
from tests.cache.states import Faults

SCHEME = Model()
CUT = Model(monotone=False)
ONE_PROCESS = Model(same_process=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "faults", "readers", "writers"),
    [
        pytest.param(SCHEME, Faults(), 2, 2, id="no fault"),
        pytest.param(ONE_PROCESS, Faults(), 2, 2, id="readers that share flights"),
        pytest.param(SCHEME, Faults(kills=2), 1, 2, id="writers killed"),
        pytest.param(SCHEME, Faults(kills=1), 2, 1, id="a writer killed between two readers"),
        pytest.param(CUT, Faults(cuts=1, kills=1), 1, 2, id="writers cut off from Redis, one killed"),
        pytest.param(CUT, Faults(cuts=1), 2, 1, id="a writer cut off from Redis between two readers"),
        pytest.param(SCHEME, Faults(restores=1), 2, 1, id="Redis back with an old snapshot, or an old replica"),
        pytest.param(CUT, Faults(cuts=1, restores=1), 1, 1, id="a write while Redis is away, and an old snapshot"),
        pytest.param(SCHEME, Faults(early_expiries=1), 2, 1, id="a COMMIT that outlasts its fence"),
        pytest.param(CUT, Faults(cuts=1, restarts=1), 1, 1, id="PostgreSQL restarted while a writer is cut off"),
        pytest.param(SCHEME, Faults(failovers=1), 2, 1, id="PostgreSQL replaced by a standby that lost a commit"),
    ],
)
def test_the_scheme_is_never_stale(model: Model, faults: Faults, readers: int, writers: int) -> None:
    states, way = model.search(faults, readers=readers, writers=writers)

    print(f"{states} states searched")  # noqa: T201  # what the issue asks to see: pytest -rA
    assert way is None, "\n".join(way)


@pytest.mark.parametrize(
    ("element", "faults", "readers", "writers"),
    [
        ("lease", Faults(), 2, 1),
        ("lease voided", Faults(kills=1), 1, 1),
        ("fence", Faults(kills=1), 1, 1),
        ("leases barred", Faults(kills=1), 1, 1),
        ("fence set", Faults(kills=1), 1, 2),
        ("second delete", Faults(early_expiries=1), 1, 1),
        ("second bump", Faults(early_expiries=1, cuts=1), 1, 1),
        ("epoch", Faults(cuts=1), 1, 1),
        ("wait", Faults(cuts=1), 1, 1),
        ("same server", Faults(cuts=1, restarts=1), 1, 1),
        ("run_id", Faults(restores=1), 1, 1),
        ("timeline", Faults(failovers=1), 1, 1),
        ("strict flight", Faults(), 2, 1),
    ],
)
def test_the_scheme_without_any_of_its_elements_is_stale(
    element: str, faults: Faults, readers: int, writers: int
) -> None:
    model = Model(frozenset({element}), same_process=element == "strict flight", monotone=not faults.cuts)

    _, way = model.search(faults, readers=readers, writers=writers)

    assert way is not None


def test_what_the_scheme_cannot_bar_is_a_long_commit_whose_writer_is_killed() -> None:
    _, way = SCHEME.search(Faults(early_expiries=1, kills=1), readers=1, writers=1)

    assert way is not None
    assert way[-1] == "1 stays in the cache, 2 is the truth"
