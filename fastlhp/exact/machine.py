"""Host, hypervisor and guests as a Markov chain: the states, and what can happen in each.

If every time of a configuration is exponential, what happens next depends only on where everybody is: the
phase of each vCPU, who runs where, the order of the queues, and who holds or waits for which lock. This is
a description of the model of its own, which shares no code with the engine: it exists to check it.

An exponential slice is memoryless. So a vCPU that keeps the rest of its slice, one that inherits another's
rest and one that starts a new slice all run on for the same distribution of time: ``slice_after_yield`` and
``boost_slice`` make no difference here, nor does the phase of the first slices.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, permutations, product
from operator import methodcaller
from typing import Any, NamedTuple, TypeVar

from fastlhp.model.configuration import Configuration

__all__ = ["HOST", "Machine", "State", "System", "TooManyStatesError"]

USER, KERNEL, WAITING, HOLDING, HALTED = range(5)
NOBODY = -1
HOST = -1
"""Whom something is counted for that belongs to no VM."""

T = TypeVar("T")

Event = tuple[float, Callable[[Any], None]]
"""A rate per ns, and what happens then to a machine."""


class TooManyStatesError(Exception):
    """There are more states, or more of them to start from, than allowed."""


class State(NamedTuple):
    """Where everybody is; hashable.

    Attributes
    ----------
    phase, lock : tuple of int
        Of each vCPU: its phase, and the lock it holds or waits for.
    hit : tuple of bool
        Of each vCPU: whether this acquisition has been preempted before.
    home : tuple of int
        Of each vCPU: its pCPU, if it has one.
    running, last : tuple of int
        Of each pCPU: who runs, and who did last.
    extended : tuple of bool
        Of each pCPU: whether a guard has put off the end of its slice.
    queues : tuple of tuple of int
        The run queues, each from head to tail.
    locks : tuple of tuple of int
        Of each lock: its owner and, if it is FIFO, those that wait, in order.
    slot : int
        Which slot's turn it is under `gang`.
    """

    phase: tuple[int, ...]
    lock: tuple[int, ...]
    hit: tuple[bool, ...]
    home: tuple[int, ...]
    running: tuple[int, ...]
    last: tuple[int, ...]
    extended: tuple[bool, ...]
    queues: tuple[tuple[int, ...], ...]
    locks: tuple[tuple[int, ...], ...]
    slot: int


class System:
    """What does not change: the configuration, and vCPUs and locks numbered over the host.

    Parameters
    ----------
    configuration : Configuration
        One that `fastlhp.exact.scope.mistakes` has no objection to.
    max_states : int
        Largest number of states.
    """

    def __init__(self, configuration: Configuration, max_states: int) -> None:
        self.max_states = max_states
        self.scheduler: Any = configuration.scheduler
        self.guard: Any = configuration.guard
        self.response: Any = configuration.response
        self.vms = configuration.vms
        self.n_pcpu = configuration.host.pcpus
        self.vm_of = [m for m, vm in enumerate(self.vms) for _ in range(vm.vcpus)]
        self.number_in_vm = [j for vm in self.vms for j in range(vm.vcpus)]
        self.vcpus_of = [[v for v, n in enumerate(self.vm_of) if n == m] for m in range(len(self.vms))]
        self.vm_of_lock = [m for m, vm in enumerate(self.vms) for _ in range(vm.lock.count)]
        self.is_fifo = [self.vms[m].lock.kind != "test_and_set" for m in self.vm_of_lock]
        self.can_halt = any(vm.halt_probability > 0 for vm in self.vms)
        self._machine = {"round_robin": Pinned, "global": Global, "gang": Gang}[self.scheduler.kind]

    def machine(self, state: State) -> "Machine":
        """Return a machine in that state."""
        return self._machine(self, state)

    def starts(self) -> list[tuple[float, State]]:
        """Return the states at time 0 with their probabilities.

        Raises
        ------
        TooManyStatesError
            If there are more than `max_states`.
        """
        return self._listed(self._machine.starts(self))

    def _listed(self, several: Iterator[T]) -> list[T]:
        found = list(islice(several, self.max_states + 1))
        if len(found) > self.max_states:
            raise TooManyStatesError
        return found

    def lock_shares(self, m: int) -> Iterator[tuple[int, float]]:
        """Yield the locks of a VM and how often each is picked."""
        weights = self.vms[m].lock.weights or (1.0,) * self.vms[m].lock.count
        for g, weight in zip((g for g, n in enumerate(self.vm_of_lock) if n == m), weights, strict=True):
            yield g, weight / sum(weights)

    def orders(self, vcpus: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the orders of a run queue at time 0, equally likely; vCPUs of a VM are all alike then."""
        if self.scheduler.order == "vm":
            return [tuple(vcpus)]
        members = [self.vm_of[v] for v in vcpus]
        found = []
        for order in self._listed(_arrangements(sorted(members))):
            named = {m: iter([v for v in vcpus if self.vm_of[v] == m]) for m in members}
            found.append(tuple(next(named[m]) for m in order))
        return found

    def placements(self) -> Iterator[tuple[float, list[int]]]:
        """Yield the pCPU of every vCPU, with probabilities."""
        n, kind = self.n_pcpu, self.scheduler.placement
        n_vcpu = len(self.vm_of)
        if kind == "spread":
            yield 1.0, [v % n for v in range(n_vcpu)]
        elif kind == "aligned":
            yield 1.0, [j % n for j in self.number_in_vm]
        elif kind == "random":
            for homes in product(range(n), repeat=n_vcpu):
                yield float(n) ** -n_vcpu, list(homes)
        else:
            # `balance`: each round of n vCPUs of a VM goes to the first pCPUs of a permutation.
            rounds = [min(n, vm.vcpus - first) for vm in self.vms for first in range(0, vm.vcpus, n)]
            choices = [self._listed(permutations(range(n), size)) for size in rounds]
            probability = 1.0
            for choice in choices:
                probability /= len(choice)
            for parts in product(*choices):
                yield probability, [p for part in parts for p in part]


def _arrangements(members: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the different orders of members, some of which are equal."""
    if not members:
        yield ()
    for first in dict.fromkeys(members):
        rest = list(members)
        rest.remove(first)
        for order in _arrangements(rest):
            yield (first, *order)


class Machine:
    """A state that can be changed, and the counts of what was done to it.

    Parameters
    ----------
    system : System
        The machine's constants.
    state : State
        Where it begins.

    Attributes
    ----------
    counts : dict
        How often what has happened, by (VM or `HOST`, name of the counter).
    """

    def __init__(self, system: System, state: State) -> None:
        self.system = system
        self.phase = list(state.phase)
        self.lock = list(state.lock)
        self.hit = list(state.hit)
        self.home = list(state.home)
        self.running = list(state.running)
        self.last = list(state.last)
        self.extended = list(state.extended)
        self.queues = [list(queue) for queue in state.queues]
        self.locks = [list(lock) for lock in state.locks]
        self.slot = state.slot
        self.counts: dict[tuple[int, str], float] = {}

    def frozen(self) -> State:
        """Return the state."""
        return State(
            tuple(self.phase),
            tuple(self.lock),
            tuple(self.hit),
            tuple(self.home),
            tuple(self.running),
            tuple(self.last),
            tuple(self.extended),
            tuple(map(tuple, self.queues)),
            tuple(map(tuple, self.locks)),
            self.slot,
        )

    @classmethod
    def starts(cls, system: System) -> Iterator[tuple[float, State]]:
        """Yield the states at time 0 with their probabilities."""
        raise NotImplementedError

    @classmethod
    def _at_rest(cls, system: System, homes: Sequence[int], queues: Sequence[Sequence[int]]) -> "Machine":
        """Return a machine on which all vCPUs are at the start of USER and none runs yet."""
        n = len(system.vm_of)
        nobody = (NOBODY,) * system.n_pcpu
        state = State(
            (USER,) * n,
            (NOBODY,) * n,
            (False,) * n,
            tuple(homes),
            nobody,
            nobody,
            (False,) * system.n_pcpu,
            tuple(map(tuple, queues)),
            ((),) * len(system.vm_of_lock),
            0,
        )
        return cls(system, state)

    # What the scheduler decides

    def has_queued(self, p: int) -> bool:
        """Whether another vCPU is queued that p may run."""
        raise NotImplementedError

    def yields(self, p: int) -> bool:
        """Whether a yield on p gives the pCPU up."""
        raise NotImplementedError

    def enqueue(self, v: int) -> None:
        """Put v, which is runnable, at the tail of its queue."""
        raise NotImplementedError

    def pick(self, p: int) -> None:
        """Let the next vCPU run on p, which is free."""
        raise NotImplementedError

    def wake_up(self, v: int) -> None:
        """End v's HALTED."""
        raise NotImplementedError

    def scheduler_events(self) -> Iterator[Event]:
        """Yield the ends of slices or slots."""
        raise NotImplementedError

    def usable(self, v: int) -> list[int]:
        """Return the pCPUs that v could run on."""
        return [self.home[v]]

    # What can happen

    def events(self) -> Iterator[Event]:
        """Yield everything that can happen next, each with its rate."""
        for p, v in enumerate(self.running):
            if v != NOBODY:
                yield from self._guest_events(p, v)
        for v, phase in enumerate(self.phase):
            if phase == HALTED:
                yield 1 / self._vm(v).halt_time.mean_ns, methodcaller("wake_up", v)
        yield from self.scheduler_events()

    def _guest_events(self, p: int, v: int) -> Iterator[Event]:
        vm = self._vm(v)
        if self.phase[v] == USER and not vm.kernel.is_zero:
            yield 1 / vm.user.mean_ns, methodcaller("enter_kernel", v)
        elif self.phase[v] in (USER, KERNEL):
            rate = 1 / (vm.user if self.phase[v] == USER else vm.kernel).mean_ns
            for g, share in self.system.lock_shares(self.system.vm_of[v]):
                yield rate * share, methodcaller("attempt", v, g)
        elif self.phase[v] == HOLDING:
            g = self.lock[v]
            # test_and_set goes to one of those that spin, FIFO to the next, running or not.
            takers = [] if self.system.is_fifo[g] else self._spinners(g)
            for taker in takers or [NOBODY]:
                rate = 1 / vm.hold.mean_ns / max(len(takers), 1)
                if vm.halt_probability < 1:
                    yield rate * (1 - vm.halt_probability), methodcaller("release", p, taker, False)
                if vm.halt_probability > 0:
                    yield rate * vm.halt_probability, methodcaller("release", p, taker, True)
        elif self.system.response.kind != "none":
            rate = 1 / self.system.response.spin_threshold.mean_ns
            targets = self._targets(p, v)
            for target in targets or [NOBODY]:
                yield rate / max(len(targets), 1), methodcaller("stop_spinning", p, target)

    def _spinners(self, g: int) -> list[int]:
        return [v for v in self.running if v != NOBODY and self.phase[v] == WAITING and self.lock[v] == g]

    def _vm(self, v: int) -> Any:
        return self.system.vms[self.system.vm_of[v]]

    def _targets(self, p: int, v: int) -> list[int]:
        """Return the siblings that v may yield to on p, equally likely."""
        response = self.system.response
        if response.kind != "directed_yield":
            return []
        siblings = self.system.vcpus_of[self.system.vm_of[v]]
        queued = [w for w in siblings if self.is_ready(w) and (p in self.usable(w) or response.migrate)]
        if response.target == "holder":
            return [w for w in queued if self.owner(self.lock[v]) == w]
        if response.target == "waiter":
            return [w for w in queued if self.phase[w] == WAITING and self.owner(self.lock[w]) != w]
        return queued

    # The guest

    def enter_kernel(self, v: int) -> None:
        """End v's USER."""
        self.phase[v] = KERNEL

    def attempt(self, v: int, g: int) -> None:
        """Let v try to get lock g."""
        self.lock[v] = g
        if not self.locks[g]:
            self.locks[g] = [v]
            self._hold(v, contended=False)
        else:
            self.phase[v] = WAITING
            if self.system.is_fifo[g]:
                self.locks[g].append(v)

    def release(self, p: int, taker: int, halts: bool) -> None:
        """End the HOLDING of the vCPU on p; a FIFO lock knows who takes it."""
        v = self.running[p]
        g = self.lock[v]
        self.phase[v], self.lock[v], self.hit[v] = USER, NOBODY, False
        if self.system.is_fifo[g]:
            self.locks[g].pop(0)
            taker = self.owner(g)
        else:
            self.locks[g] = [taker] if taker != NOBODY else []
        if taker in self.running and taker != NOBODY:
            self._hold(taker, contended=True)
        elif taker != NOBODY:
            self._count("lwp_grants", taker)
        if halts:
            self._count("guest_halts", v)
            self.phase[v] = HALTED
            self._vacate(p)
            self.pick(p)
        elif self.extended[p] and self.system.guard.kind == "delay":
            self._count("guard_yields", v)
            self._vacate(p)
            self.enqueue(v)
            self.pick(p)

    def owner(self, g: int) -> int:
        """Return who holds lock g or was granted it."""
        return self.locks[g][0] if self.locks[g] else NOBODY

    def _hold(self, v: int, contended: bool) -> None:
        self.phase[v] = HOLDING
        self._count("acquisitions", v)
        if contended:
            self._count("contended_acquisitions", v)

    # The hypervisor

    def dispatch(self, p: int, v: int) -> None:
        """Let v run on p, which is free."""
        if self.last[p] not in (NOBODY, v):
            self._count("context_switches", v)
        self.running[p] = self.last[p] = v
        if self.phase[v] == HOLDING:
            self._count("holder_off_spells", v)
        elif self.phase[v] == WAITING:
            g = self.lock[v]
            if not self.system.is_fifo[g] and not self.locks[g]:
                self.locks[g] = [v]
            if self.owner(g) == v:
                self._hold(v, contended=True)

    def slice_end(self, p: int) -> None:
        """End the slice on p, while another vCPU is queued."""
        v = self.running[p]
        if self.system.guard.kind != "none" and self.phase[v] == HOLDING:
            self._count("extensions", v)
            self.extended[p] = True
        else:
            self.preempt(p)
            self.pick(p)

    def extension_end(self, p: int) -> None:
        """End the extension of the slice on p."""
        v = self.running[p]
        self.extended[p] = False
        if self.has_queued(p):
            if self.phase[v] == HOLDING:
                self._count("extensions_expired", v)
            self.preempt(p)
            self.pick(p)

    def preempt(self, p: int) -> None:
        """Take p from its vCPU against its will."""
        v = self.running[p]
        self._count("preemptions", v)
        if self.phase[v] == HOLDING:
            self._count("lhp_events", v)
            if not self.hit[v]:
                self._count("lhp_acquisitions", v)
            self.hit[v] = True
        elif self.phase[v] == WAITING:
            self._count("lwp_events", v)
        self._vacate(p)
        self.enqueue(v)

    def stop_spinning(self, p: int, target: int) -> None:
        """Let the spinner on p yield, to a target if there is one."""
        v = self.running[p]
        self._count("yields", v)
        if self.system.response.kind == "directed_yield":
            self._count(f"directed_yields_{self._role(target)}", v)
        # A yield ends an extension, whose slice end is past: alone on its pCPU the vCPU gets a new slice.
        self.extended[p] = False
        if target != NOBODY:
            self._vacate(p)
            for queue in self.queues:
                if target in queue:
                    queue.remove(target)
            self.enqueue(v)
            if self.home[target] != NOBODY:
                self.home[target] = p
            self.dispatch(p, target)
        elif self.yields(p):
            self._vacate(p)
            self.enqueue(v)
            self.pick(p)

    def _role(self, v: int) -> str:
        if v == NOBODY:
            return "none"
        if self.lock[v] != NOBODY and self.owner(self.lock[v]) == v:
            return "holder"
        return "waiter" if self.phase[v] == WAITING else "other"

    def _vacate(self, p: int) -> None:
        self.running[p] = NOBODY
        self.extended[p] = False

    # What is measured

    def _count(self, name: str, v: int, amount: float = 1.0) -> None:
        key = (self.system.vm_of[v], name)
        self.counts[key] = self.counts.get(key, 0.0) + amount

    def is_ready(self, v: int) -> bool:
        """Whether v is runnable, but does not run."""
        return self.phase[v] != HALTED and v not in self.running

    def measure(self) -> dict[tuple[int, str], float]:
        """Return what passes per ns in this state: pCPU and vCPU time by its use, and waits."""
        self.counts = {}
        n_ready = 0
        for v, phase in enumerate(self.phase):
            if phase == WAITING:
                # All waits together last as long as there are vCPUs waiting.
                self._count("wait_ns", v)
            if v in self.running:
                self._count(("user_ns", "kernel_ns", "spin_ns", "hold_ns")[phase], v)
                if phase == WAITING:
                    owner = self.owner(self.lock[v])
                    if owner not in self.running:
                        self._count("spin_lhp_ns" if self.phase[owner] == HOLDING else "spin_lwp_ns", v)
            elif phase == HALTED:
                self._count("halted_ns", v)
            else:
                n_ready += 1
                self._count("ready_ns", v)
                if phase == HOLDING:
                    self._count("holder_off_ns", v)
                others = [self.running[p] for p in self.usable(v) if self.running[p] != NOBODY]
                if any(self._vm(w).weight < self._vm(v).weight for w in others):
                    self._count("priority_inversion_ns", v)
        idle = self.running.count(NOBODY)
        self.counts[HOST, "idle_ns"] = idle
        self.counts[HOST, "fragmentation_ns"] = idle if n_ready else 0
        return self.counts


class Pinned(Machine):
    """`round_robin`: every vCPU has its pCPU, and every pCPU its queue."""

    @classmethod
    def starts(cls, system: System) -> Iterator[tuple[float, State]]:
        """Yield every placement with every order of the queues."""
        for probability, homes in system.placements():
            members = [[v for v, home in enumerate(homes) if home == p] for p in range(system.n_pcpu)]
            orders = [system.orders(vcpus) for vcpus in members]
            for order in orders:
                probability /= len(order)
            for queues in product(*orders):
                machine = cls._at_rest(system, homes, queues)
                for p in range(system.n_pcpu):
                    machine.pick(p)
                yield probability, machine.frozen()

    def queue_of(self, p: int) -> list[int]:
        """Return the queue that p serves."""
        return self.queues[p]

    def has_queued(self, p: int) -> bool:
        """Whether p's queue is not empty."""
        return bool(self.queue_of(p))

    def yields(self, p: int) -> bool:
        """Whether there is somebody to yield to."""
        return self.has_queued(p)

    def enqueue(self, v: int) -> None:
        """Put v at the tail of its pCPU's queue."""
        self.queue_of(self.home[v]).append(v)

    def pick(self, p: int) -> None:
        """Run the head of p's queue."""
        if self.queue_of(p):
            self.dispatch(p, self.queue_of(p).pop(0))

    def wake_up(self, v: int) -> None:
        """Queue v, and let an idle pCPU take it at once, the lowest first."""
        self.phase[v] = USER
        self.enqueue(v)
        idle = [p for p in self.usable(v) if self.running[p] == NOBODY]
        if idle:
            self.pick(idle[0])

    def scheduler_events(self) -> Iterator[Event]:
        """Yield the ends of slices and of their extensions; that of a lone vCPU's slice is nothing."""
        guard = self.system.guard
        for p, v in enumerate(self.running):
            if v != NOBODY and self.extended[p]:
                length = guard.cap if guard.kind == "delay" else guard.length
                yield 1 / length.mean_ns, methodcaller("extension_end", p)
            elif v != NOBODY and self.has_queued(p):
                yield 1 / self.system.scheduler.slice.mean_ns, methodcaller("slice_end", p)

    def pcpus_are_alike(self) -> bool:
        """Whether it makes no difference which pCPU has which number."""
        return True

    def frozen(self) -> State:
        """Return the state under names by which states that differ in names only become one.

        The vCPUs of a VM are alike, and so are pCPUs: a permutation of their names is another state in which
        everything goes on in the same way. So pCPUs are sorted by what is on them, and the vCPUs of a VM
        numbered in the order in which they are met.
        """
        pcpus = list(range(self.system.n_pcpu))
        if self.pcpus_are_alike():
            pcpus.sort(key=self._looks)
        place = {NOBODY: NOBODY} | {p: i for i, p in enumerate(pcpus)}
        queues = [self.queues[p] for p in pcpus] if len(self.queues) > 1 else self.queues
        met = [self.running[p] for p in pcpus]
        for queue in queues:
            met += queue
        # All that is left is halted.
        met += [self.last[p] for p in pcpus]
        met += sorted(range(len(self.phase)), key=lambda v: place[self.home[v]])
        old = sorted(dict.fromkeys(v for v in met if v != NOBODY), key=self.system.vm_of.__getitem__)
        new = {NOBODY: NOBODY} | {v: i for i, v in enumerate(old)}
        return State(
            tuple(self.phase[v] for v in old),
            tuple(self.lock[v] for v in old),
            tuple(self.hit[v] for v in old),
            tuple(place[self.home[v]] for v in old),
            tuple(new[self.running[p]] for p in pcpus),
            tuple(new[self.last[p]] for p in pcpus),
            tuple(self.extended[p] for p in pcpus),
            tuple(tuple(new[v] for v in queue) for queue in queues),
            tuple(tuple(new[v] for v in lock) for lock in self.locks),
            self.slot,
        )

    def _looks(self, p: int) -> Any:
        """Return what can be said of p and its vCPUs without their names."""
        seen = [self.running[p], *(self.queues[p] if len(self.queues) > 1 else ()), self.last[p]]
        return self.extended[p], [self._looks_of_vcpu(v) for v in seen]

    def _looks_of_vcpu(self, v: int) -> tuple[int, ...]:
        if v == NOBODY:
            return (NOBODY,)
        g = self.lock[v]
        place = self.locks[g].index(v) if g != NOBODY and v in self.locks[g] else NOBODY
        return self.system.vm_of[v], self.phase[v], g, place, self.hit[v]


class Global(Pinned):
    """`global`: one queue for all pCPUs."""

    @classmethod
    def starts(cls, system: System) -> Iterator[tuple[float, State]]:
        """Yield every order of the queue."""
        n = len(system.vm_of)
        orders = system.orders(range(n))
        for order in orders:
            machine = cls._at_rest(system, [NOBODY] * n, [order])
            for p in range(system.n_pcpu):
                machine.pick(p)
            yield 1 / len(orders), machine.frozen()

    def queue_of(self, p: int) -> list[int]:
        """Return the queue."""
        return self.queues[0]

    def usable(self, v: int) -> list[int]:
        """Return all pCPUs."""
        return list(range(self.system.n_pcpu))

    def pcpus_are_alike(self) -> bool:
        """Whether none can be idle: an idle pCPU is chosen by its number."""
        return not self.system.can_halt


class Gang(Machine):
    """`gang`: slots in which all vCPUs of a VM have a column each."""

    def __init__(self, system: System, state: State) -> None:
        super().__init__(system, state)
        # The queues are those of the columns, one vCPU or none in each slot.
        self.n_slot = len(self.queues[0])

    @classmethod
    def starts(cls, system: System) -> Iterator[tuple[float, State]]:
        """Yield the start of slot 0: VMs are packed first fit into the lowest free columns."""
        slots: list[list[int]] = []
        homes: list[int] = []
        for m, vm in enumerate(system.vms):
            slot = next((slot for slot in slots if slot.count(NOBODY) >= vm.vcpus), None)
            if slot is None:
                slot = [NOBODY] * system.n_pcpu
                slots.append(slot)
            for v in system.vcpus_of[m]:
                homes.append(slot.index(NOBODY))
                slot[homes[-1]] = v
        machine = cls._at_rest(system, homes, list(zip(*slots, strict=True)))
        for p in range(system.n_pcpu):
            machine.pick(p)
        yield 1.0, machine.frozen()

    def _choice(self, c: int) -> int:
        """Return the vCPU that column c should run: the slot's or, with `fill`, a following slot's."""
        for i in range(self.n_slot if self.system.scheduler.fill else 1):
            v = self.queues[c][(self.slot + i) % self.n_slot]
            if v != NOBODY and self.phase[v] != HALTED:
                return v
        return NOBODY

    def has_queued(self, p: int) -> bool:
        """There are no slices in a slot."""
        return False

    def yields(self, p: int) -> bool:
        """A yield gives nothing up."""
        return False

    def enqueue(self, v: int) -> None:
        """Do nothing: v has its place in the matrix."""

    def pick(self, p: int) -> None:
        """Run the column's choice."""
        v = self._choice(p)
        if v != NOBODY:
            self.dispatch(p, v)

    def wake_up(self, v: int) -> None:
        """Let v have its column if that is idle or, in v's slot, has a filler."""
        self.phase[v] = USER
        c = self.home[v]
        if self.running[c] != NOBODY and self.queues[c][self.slot] == v:
            self.preempt(c)
        if self.running[c] == NOBODY:
            self.pick(c)

    def scheduler_events(self) -> Iterator[Event]:
        """Yield the end of the slot."""
        if self.n_slot > 1:
            yield 1 / self.system.scheduler.slice.mean_ns, methodcaller("slot_end")

    def slot_end(self) -> None:
        """Go on to the next slot."""
        self.slot = (self.slot + 1) % self.n_slot
        for c in range(self.system.n_pcpu):
            if self.running[c] != self._choice(c):
                if self.running[c] != NOBODY:
                    self.preempt(c)
                self.pick(c)
