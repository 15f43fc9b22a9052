"""The scheme as a state machine over every interleaving: one key, writers, readers, faults.

An atomic step is one Redis script, one PostgreSQL statement, or one fault. Each reader is a process of its own, with an
epoch of its own that it believes, unless `same_process` lets readers share flights. `without` removes elements of the
scheme, to see that each is needed.

What must hold: a read that begins after a write was answered returns that version or a newer one; when all is over,
what the cache would answer is the truth; and, if `monotone`, no read returns less than another that ended before it
began. The last is not promised while a writer is cut off from Redis: until its answer, one process may know what
another does not.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.cache.states import (
    ASKS,
    BEGUN,
    COMMITTED,
    DONE,
    ENDED,
    FENCED,
    LEASED,
    LOADED,
    LOOKED,
    MISSED,
    PASSES_BY,
    READY,
    SETTLING,
    WAITS,
    Epoch,
    Faults,
    Reader,
    Stamp,
    Step,
    World,
    Writer,
    acknowledge,
    fail_over,
    fail_redis,
    way_to,
    with_reader,
    with_writer,
)


@dataclass(frozen=True)
class Model:
    """The scheme, less the elements that `without` names."""

    without: frozenset[str] = frozenset()
    same_process: bool = False
    monotone: bool = True
    stale: list[str] = field(default_factory=list)

    def has(self, element: str) -> bool:
        """Whether the scheme has the element."""
        return element not in self.without

    def stamp(self, epoch: Epoch, run: int) -> Stamp:
        """What an entry carries."""
        timeline, n = epoch
        return (timeline if self.has("timeline") else 0, n if self.has("epoch") else 0), run if self.has(
            "run_id"
        ) else 0

    def steps(self, world: World) -> Iterator[Step]:
        """Everything that may happen next."""
        for number in range(len(world.writers)):
            yield from self.write(world, number)
        for number in range(len(world.readers)):
            yield from self.read(world, number)
        yield from self.fail(world)

    def write(self, world: World, number: int) -> Iterator[Step]:
        """What a writer may do next."""
        me = world.writers[number]
        if me.at == BEGUN:
            yield from self.raise_fence(world, number)
        elif me.at == FENCED:
            moves = not me.stands and self.has("epoch")
            epoch = (world.epoch[0], world.epoch[1] + 1) if moves else world.epoch
            version = world.written + 1
            moved = epoch if moves else None
            after = world._replace(version=version, written=version, epoch=epoch)
            done = me._replace(at=COMMITTED, version=version, moved=moved, server=world.server)
            yield f"writer {number} commits {version}", with_writer(after, number, done)
        elif me.at == COMMITTED:
            yield from self.lift_fence(world, number)
        elif me.at == SETTLING:
            yield from self.settle(world, number)
        if world.faults.kills and me.at in (FENCED, COMMITTED, SETTLING):
            fewer = world._replace(faults=world.faults._replace(kills=world.faults.kills - 1))
            yield f"writer {number} is killed", with_writer(fewer, number, me._replace(at=ENDED))

    def raise_fence(self, world: World, number: int) -> Iterator[Step]:
        """FENCE, or what is left of it."""
        me = world.writers[number]
        if world.cut:
            yield f"writer {number} cannot fence", with_writer(world, number, me._replace(at=FENCED))
            return
        fences = world.fences | {number} if self.has("fence set") else frozenset({0})
        lease = None if self.has("lease voided") else world.lease
        after = world._replace(entry=None, lease=lease, fences=fences if self.has("fence") else frozenset())
        yield f"writer {number} fences", with_writer(after, number, me._replace(at=FENCED, stands=True))

    def lift_fence(self, world: World, number: int) -> Iterator[Step]:
        """UNFENCE; what it cannot do, a bump of the epoch does."""
        me = world.writers[number]
        if me.stands and not world.cut:
            fences = world.fences - {number} if self.has("fence set") else frozenset()
            after = world._replace(fences=fences)
            if self.has("second delete"):
                after = after._replace(entry=None, lease=None)
            yield f"writer {number} unfences", acknowledge(after, number)
        elif me.moved is None and me.stands and self.has("second bump") and self.has("epoch"):
            moved = (world.epoch[0], world.epoch[1] + 1)
            settling = me._replace(at=SETTLING, moved=moved, server=world.server)
            yield f"writer {number} moves the epoch", with_writer(world._replace(epoch=moved), number, settling)
        elif me.moved is None:
            yield f"writer {number} cannot unfence", acknowledge(world, number)
        else:
            yield f"writer {number} settles", with_writer(world, number, me._replace(at=SETTLING))

    def settle(self, world: World, number: int) -> Iterator[Step]:
        """Wait until beliefs have run out, which those of a PostgreSQL that went away need not do."""
        me = world.writers[number]
        same = world.server == me.server
        believed = [reader.believes for reader in world.readers if reader.believes is not None]
        assert me.moved is not None
        if same and self.has("wait") and any(epoch < me.moved for epoch in believed):
            return
        if same or not self.has("same server"):
            yield f"writer {number} is answered", acknowledge(world, number)
        else:
            yield f"writer {number} gives up", with_writer(world, number, me._replace(at=ENDED))

    def read(self, world: World, number: int) -> Iterator[Step]:
        """What a reader may do next, or learn."""
        me = world.readers[number]
        name = f"reader {number}"
        if me.believes != world.epoch:
            yield f"{name} reads the epoch", with_reader(world, number, me._replace(believes=world.epoch))
        if me.believes is not None and me.at != DONE:
            yield f"{name}'s epoch runs out", with_reader(world, number, me._replace(believes=None))
        if me.at in (ASKS, LOOKED):
            yield from self.look(world, number)
        elif me.at == MISSED:
            yield from self.join(world, number)
            yield f"{name} departs", with_reader(world, number, me._replace(at=READY, epoch=me.believes))
        elif me.at == READY:
            yield from self.take_turn(world, number)
        elif me.at == LEASED:
            yield f"{name} loads", with_reader(world, number, me._replace(at=LOADED, loaded=world.version))
        elif me.at == LOADED:
            yield from self.fill(world, number)
        elif me.at == PASSES_BY:
            yield self.answer(world, number, world.version, f"{name} loads for itself")

    def look(self, world: World, number: int) -> Iterator[Step]:
        """MGET, and then whether to trust it."""
        me = world.readers[number]
        name = f"reader {number}"
        if me.at == ASKS:
            floor = max(world.acknowledged, world.seen) if self.monotone else world.acknowledged
            looked = me._replace(at=LOOKED, floor=floor, looked=world.entry, run=world.run)
            yield f"{name} gets {world.entry}", with_reader(world, number, looked)
            return
        trusted = me.believes is not None and self.stamp(me.believes, me.run)
        if me.looked is not None and me.looked[0] == trusted:
            yield self.answer(world, number, me.looked[1], f"{name} hits")
        else:
            yield f"{name} misses", with_reader(world, number, me._replace(at=MISSED, looked=None))

    def join(self, world: World, number: int) -> Iterator[Step]:
        """Join the flight of another reader, if it has not departed."""
        if not self.same_process:
            return
        for pilot, other in enumerate(world.readers):
            late = other.at in (READY, LEASED, LOADED) and not self.has("strict flight")
            if pilot != number and (other.at == MISSED or late):
                waiting = world.readers[number]._replace(at=WAITS, pilot=pilot)
                yield f"reader {number} joins reader {pilot}", with_reader(world, number, waiting)

    def take_turn(self, world: World, number: int) -> Iterator[Step]:
        """LEASE, with the epoch that was believed when the reader departed."""
        me = world.readers[number]
        name = f"reader {number}"
        pass_by = with_reader(world, number, me._replace(at=PASSES_BY))
        if me.epoch is None:
            yield f"{name} knows no epoch", pass_by
            return
        stamp = self.stamp(me.epoch, world.run)
        if world.entry is not None and world.entry[0] == stamp:
            yield self.answer(world, number, world.entry[1], f"{name} hits after all")
        elif world.fences and self.has("leases barred"):
            yield f"{name} is fenced off", pass_by
        elif world.lease is None or not self.has("lease"):
            leased = world._replace(lease=number)
            yield f"{name} leases", with_reader(leased, number, me._replace(at=LEASED, stamp=stamp))
        else:
            yield f"{name} is tired of waiting", pass_by

    def fill(self, world: World, number: int) -> Iterator[Step]:
        """FILL, which the lease guards."""
        me = world.readers[number]
        assert me.stamp is not None
        if world.lease == number or not self.has("lease"):
            filled = world._replace(entry=(me.stamp, me.loaded), lease=None)
            yield self.answer(filled, number, me.loaded, f"reader {number} fills {me.loaded}")
        else:
            yield self.answer(world, number, me.loaded, f"reader {number} may not fill")

    def answer(self, world: World, number: int, version: int, label: str) -> Step:
        """End a read, and those that joined it."""
        together = [
            number,
            *(other for other, one in enumerate(world.readers) if one.at == WAITS and one.pilot == number),
        ]
        self.stale.extend(f"{label}: {version}" for one in together if version < world.readers[one].floor)
        for one in together:
            world = with_reader(world, one, Reader(at=DONE, believes=world.readers[one].believes))
        return label, world._replace(seen=max(world.seen, min(version, world.version)))

    def fail(self, world: World) -> Iterator[Step]:
        """The faults, and what only time does."""
        faults = world.faults
        if world.lease is not None:
            yield "the lease expires", world._replace(lease=None)
        for number in world.fences:
            early = world.writers[number].at == FENCED
            if not early or faults.early_expiries:
                left = faults._replace(early_expiries=faults.early_expiries - early)
                yield f"fence {number} expires", world._replace(fences=world.fences - {number}, faults=left)
        if world.cut:
            yield "Redis can be reached", world._replace(cut=False)
        elif faults.cuts:
            yield "writers are cut off", world._replace(cut=True, faults=faults._replace(cuts=faults.cuts - 1))
        if faults.restores:
            yield fail_redis(world)
        if faults.restarts:
            left = faults._replace(restarts=faults.restarts - 1)
            yield "PostgreSQL restarts", world._replace(server=world.server + 1, faults=left)
        if faults.failovers:
            yield fail_over(world)

    def lasting_fault(self, world: World) -> str | None:
        """When all is over, an entry that readers would trust is the truth."""
        over = all(one.at == DONE for one in world.readers) and all(one.at == ENDED for one in world.writers)
        if over and not world.fences and world.lease is None and world.entry is not None:
            stamp, version = world.entry
            if stamp == self.stamp(world.epoch, world.run) and version != world.version:
                return f"{version} stays in the cache, {world.version} is the truth"
        return None

    def search(self, faults: Faults, *, readers: int = 2, writers: int = 2) -> tuple[int, list[str] | None]:
        """How many states there are, and the shortest way to a stale answer, if there is one."""
        cold = World((Reader(),) * readers, (Writer(),) * writers, faults)
        warm = cold._replace(entry=(self.stamp(cold.epoch, cold.run), 1))
        came_from: dict[World, tuple[World, str] | None] = {cold: None, warm: None}
        queue = deque(came_from)
        while queue:
            world = queue.popleft()
            if fault := self.lasting_fault(world):
                return len(came_from), [*way_to(world, came_from), fault]
            for label, after in self.steps(world):
                if self.stale:
                    return len(came_from), [*way_to(world, came_from), self.stale.pop()]
                if after not in came_from:
                    came_from[after] = world, label
                    queue.append(after)
        return len(came_from), None
