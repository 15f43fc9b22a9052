"""What a moment of the model consists of."""

from typing import NamedTuple

Epoch = tuple[int, int]  # WAL timeline, n
Stamp = tuple[Epoch, int]  # epoch, Redis run

# Where a reader is.
ASKS, LOOKED, MISSED, READY, LEASED, LOADED, PASSES_BY, WAITS, DONE = range(9)
# Where a writer is.
BEGUN, FENCED, COMMITTED, SETTLING, ENDED = range(5)


class Reader(NamedTuple):
    """One read: `floor` is the newest version that it must not fall behind."""

    at: int = ASKS
    floor: int = 0
    looked: tuple[Stamp, int] | None = None
    run: int = 0
    epoch: Epoch | None = None
    stamp: Stamp | None = None
    loaded: int = 0
    pilot: int = -1
    believes: Epoch | None = (1, 0)


class Writer(NamedTuple):
    """One write of version `version`; `server` is the PostgreSQL process that it moved the epoch on."""

    at: int = BEGUN
    stands: bool = False
    version: int = 0
    moved: Epoch | None = None
    server: int = 0


class Faults(NamedTuple):
    """How many of each may still happen."""

    kills: int = 0
    cuts: int = 0
    restores: int = 0
    restarts: int = 0
    failovers: int = 0
    early_expiries: int = 0


class World(NamedTuple):
    """All there is. `snapshot` is what Redis may come back with, `standby` what PostgreSQL may."""

    readers: tuple[Reader, ...]
    writers: tuple[Writer, ...]
    faults: Faults
    version: int = 1
    written: int = 1
    epoch: Epoch = (1, 0)
    server: int = 0
    acknowledged: int = 1
    seen: int = 1
    entry: tuple[Stamp, int] | None = None
    lease: int | None = None
    fences: frozenset[int] = frozenset()
    run: int = 0
    cut: bool = False
    snapshot: tuple[tuple[Stamp, int] | None, int | None, frozenset[int]] | None = None
    standby: tuple[int, Epoch] | None = None


Step = tuple[str, World]


def with_reader(world: World, number: int, reader: Reader) -> World:
    """`world` with another reader in that place."""
    return world._replace(readers=(*world.readers[:number], reader, *world.readers[number + 1 :]))


def with_writer(world: World, number: int, writer: Writer) -> World:
    """`world` with another writer in that place."""
    return world._replace(writers=(*world.writers[:number], writer, *world.writers[number + 1 :]))


def acknowledge(world: World, number: int) -> World:
    """The writer's client has its answer."""
    me = world.writers[number]
    # A version that a failover lost is no promise.
    after = world._replace(acknowledged=max(world.acknowledged, min(me.version, world.version)))
    return with_writer(after, number, me._replace(at=ENDED))


def way_to(world: World, came_from: dict[World, tuple[World, str] | None]) -> list[str]:
    """The steps that led to `world`."""
    way: list[str] = []
    while (before := came_from[world]) is not None:
        world, label = before
        way.append(label)
    return way[::-1]


def fail_redis(world: World) -> Step:
    """Save a snapshot, or come back with it as another process."""
    if world.snapshot is None:
        return "Redis saves", world._replace(snapshot=(world.entry, world.lease, world.fences))
    entry, lease, fences = world.snapshot
    left = world.faults._replace(restores=world.faults.restores - 1)
    back = world._replace(entry=entry, lease=lease, fences=fences, run=world.run + 1, faults=left, snapshot=None)
    return "Redis restarts from its snapshot", back


def fail_over(world: World) -> Step:
    """Leave the standby behind, or promote it: what it lacks is lost, and no promise any more."""
    if world.standby is None:
        return "the standby falls behind", world._replace(standby=(world.version, world.epoch))
    version, (timeline, n) = world.standby
    promoted = world._replace(
        version=version,
        epoch=(timeline + 1, n),
        server=world.server + 1,
        acknowledged=version,
        seen=version,
        readers=tuple(reader._replace(floor=min(reader.floor, version)) for reader in world.readers),
        standby=None,
        faults=world.faults._replace(failovers=world.faults.failovers - 1),
    )
    return "the standby is promoted", promoted
