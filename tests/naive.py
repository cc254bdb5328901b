"""Reference twin of the simulator: plain Python, event by event, written from docs/semantics.md alone.

Nothing here is clever. At every step all vCPUs and pCPUs are looked at for the next event, in the order of
section 2 of the semantics; the accounts are integrated over the interval before it by looking at the state
of every vCPU and pCPU; then the one event is handled. The engine has to give the same counters, bit for bit.

Times are integers in nanoseconds. `simulate` is the entry point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

CYCLE, CHOICE, HALT, SLICE, PHASE, ORDER, PLACEMENT, THRESHOLD = range(8)
EXTENSION, WAKEUP, GRANT, KICK, TARGET, HANDOVER, SWITCH_TIME, EXIT_TIME = range(8, 16)
PATIENCE, CHECK, INTERRUPT = range(16, 19)
HOST = 0xFFFFFFFF
MASK = 0xFFFFFFFF
LONGEST = np.float32(2**30)
A = tuple(
    np.float32(c)
    for c in (0.500005007, 0.333337456, 0.249606386, 0.199421033, 0.174258575, 0.159042627, 0.090757988)
)
LN_2 = np.float32(0.693147180559945)
ONE, HALF = np.float32(1), np.float32(0.5)


def philox2x32(counter: tuple[int, int], key: int, rounds: int = 10) -> tuple[int, int]:
    """Philox2x32 of Salmon et al., SC'11."""
    c0, c1 = counter
    for _ in range(rounds):
        product = 0xD256D193 * c0
        c0, c1 = (product >> 32) ^ key ^ c1, product & MASK
        key = (key + 0x9E3779B9) & MASK
    return c0, c1


def philox4x32(
    counter: tuple[int, int, int, int], key: tuple[int, int], rounds: int = 10
) -> tuple[int, int, int, int]:
    """Philox4x32 of Salmon et al., SC'11."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & MASK, (first >> 32) ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def bits_of(x: np.float32) -> int:
    """IEEE pattern of a single as a signed integer."""
    return int(x.view(np.int32))


def standard_exponential(w: int) -> np.float32:
    """Minus the logarithm of the fraction that a word stands for; every operation rounded to single."""
    u = (np.float32(w >> 1) + HALF) * np.float32(2.0**-31)
    k = (0x3FB504F3 - bits_of(u)) >> 23
    t = ONE - u * np.float32(2.0**k)
    z = t * t
    low = (A[1] * t + A[0]) + z * (A[3] * t + A[2])
    high = (A[5] * t + A[4]) + z * A[6]
    return np.float32(k) * LN_2 + (z * (low + (z * z) * high) + t)


def segment_of(exponential: np.float32) -> int:
    """Index of the table's segment: 32 to an octave from 2^-16, one more below."""
    i = (bits_of(exponential) >> 18) - (bits_of(np.float32(2.0**-16)) >> 18) + 1
    return min(max(i, 0), 672)


def fraction(w: int, length: int) -> int:
    """A uniform part of a duration, in 1..length."""
    return ((w * length) >> 32) + 1


class Draws:
    """All random numbers of one replication, by name."""

    def __init__(self, seed: int, replication: int, tables: Callable[[Any], Any] | None) -> None:
        self.key = (seed & MASK, seed >> 32)
        self.replication = replication
        self.tables = tables
        self.streams: dict[tuple[int, int, int], tuple[int, int]] = {}
        self.latest: dict[tuple[int, int, int], Any] = {}
        self.counters: dict[tuple[int, int, int], int] = {}
        self.segments: dict[int, Any] = {}

    def words(self, purpose: int, vm: int, vcpu: int, n: int) -> tuple[int, int]:
        """Return both words of the draw of this name."""
        owner = (purpose, vm, vcpu)
        if owner not in self.streams:
            k, c, _, _ = philox4x32((vm, vcpu, self.replication, purpose), self.key)
            self.streams[owner] = (k, c)
        # The two words of a cycle are asked for at different times.
        if self.latest.get(owner, (None,))[0] != n:
            k, c = self.streams[owner]
            self.latest[owner] = (n, philox2x32((n & MASK, c), k))
        return self.latest[owner][1]

    def next_word(self, purpose: int, vm: int, vcpu: int) -> int:
        """First word of the owner's next draw; moves its counter."""
        owner = (purpose, vm, vcpu)
        n = self.counters.get(owner, 0)
        self.counters[owner] = n + 1
        return self.words(purpose, vm, vcpu, n)[0]

    def next_choice(self, count: int, purpose: int, vm: int, vcpu: int) -> int:
        """One of `count` things; nothing is drawn for one thing."""
        if count == 1:
            return 0
        return (self.next_word(purpose, vm, vcpu) * count) >> 32

    def next_duration(self, distribution: Any, purpose: int, vm: int, vcpu: int) -> int:
        """Next duration of this owner; nothing is drawn for a constant."""
        if distribution.kind == "constant":
            return int(distribution.value_ns)
        return self.duration(distribution, self.next_word(purpose, vm, vcpu))

    def duration(self, distribution: Any, w: int) -> int:
        """Duration in ticks that a word stands for."""
        if distribution.kind == "constant":
            return int(distribution.value_ns)
        exponential = standard_exponential(w)
        if distribution.kind == "exponential":
            x = np.float32(distribution.mean_ns) * exponential
        else:
            if id(distribution) not in self.segments:
                # The distribution is kept beside its table so that its id stays its own.
                self.segments[id(distribution)] = (self.tables(distribution), distribution)
            a, b = self.segments[id(distribution)][0]
            i = segment_of(exponential)
            x = a[i] + b[i] * exponential
        return int(min(x, LONGEST) + HALF)

    def shuffle(self, things: list[Any], purpose: int, vm: int, vcpu: int) -> list[Any]:
        """Fisher and Yates' shuffle from the end."""
        n = len(things)
        for i in range(n - 1, 0, -1):
            j = (self.words(purpose, vm, vcpu, n - 1 - i)[0] * (i + 1)) >> 32
            things[i], things[j] = things[j], things[i]
        return things


OVER, UNDER, BOOST = range(3)
USER, KERNEL, WAITING, HOLDING, HALTED_BY_GUEST = "user", "kernel", "waiting", "holding", "halted"
READY, SWITCHED_IN, RUNNING, EXIT, HALTED = "ready", "switched in", "running", "exit", "halted"
COSTOPPED = "co-stopped"
SERVING = "serving"  # the interrupt of guard `driver`

VM_COUNTERS = (
    "acquisitions",
    "contended_acquisitions",
    "wait_ns",
    "wait_max_ns",
    "lhp_events",
    "lhp_acquisitions",
    "lwp_events",
    "lwp_grants",
    "preemptions",
    "context_switches",
    "yields",
    "guard_yields",
    "informed_yields",
    "directed_yields_holder",
    "directed_yields_waiter",
    "directed_yields_other",
    "directed_yields_none",
    "halts",
    "guest_halts",
    "kicks",
    "extensions",
    "extensions_expired",
    "user_ns",
    "kernel_ns",
    "hold_ns",
    "spin_ns",
    "spin_lhp_ns",
    "spin_lwp_ns",
    "switch_ns",
    "exit_ns",
    "ready_ns",
    "costop_ns",
    "halted_ns",
    "priority_inversion_ns",
    "holder_off_ns",
    "holder_off_spells",
    "holder_off_max_ns",
)


@dataclass
class Outcome:
    """Counters of one replication."""

    vm: dict[str, list[int]]
    host: dict[str, int]
    wait_histogram: dict[int, int]
    holder_off_histogram: dict[int, int]
    trace: list[tuple[int, int, int, str]] = field(default_factory=list)


class Lock:
    """One lock of a VM."""

    def __init__(self, kind: str, vm: Vm, index: int) -> None:
        self.kind = kind
        self.fifo = kind in ("ticket", "queue", "preemptable_ticket", "pv_ticket", "informed")
        self.has_line = kind in ("pv_queue", "hybrid_queue")
        self.vm = vm
        self.index = index
        self.owner: Vcpu | None = None  # holds it, or was granted it
        self.queue: list[Vcpu] = []  # of a FIFO lock: who waits and was not granted it; or the line
        self.next_ticket = 0
        self.serving = 0
        self.out_of_order = False  # its holder passed the one being served

    @property
    def head(self) -> Vcpu | None:
        return self.queue[0] if self.queue else None

    def is_open(self) -> bool:
        """Whether an attempt would take it."""
        if self.owner is not None:
            return False
        if self.head is None:
            return True
        return self.head.asleep if self.kind == "pv_queue" else not self.head.pending

    def can_be_passed(self) -> bool:
        """Whether it is granted to an owner that is off CPU and not yet holding."""
        owner = self.owner
        return owner is not None and owner.phase == WAITING and owner.state != RUNNING


class Vm:
    """One VM: what it does, its locks and its counters."""

    def __init__(self, spec: Any, index: int) -> None:
        self.spec = spec
        self.index = index
        self.vcpus: list[Vcpu] = []
        self.last_boosted = 0  # by a directed yield to the next in turn
        self.marked = False  # by a notification
        self.locks = [Lock(spec.lock.kind, self, i) for i in range(spec.lock.count)]
        self.counters = dict.fromkeys(VM_COUNTERS, 0)
        self.stopped_at: int | None = None  # esx3


class Vcpu:
    """One virtual CPU: where its guest is, and where the hypervisor has it."""

    def __init__(self, vm: Vm, index: int, number: int) -> None:
        self.vm = vm
        self.index = index  # within its VM
        self.number = number  # over the host
        # The guest.
        self.cycle = 0
        self.phase = USER
        self.length = 0  # of the phase, as drawn
        self.residual = 0  # of the phase
        self.lock: Lock | None = None
        self.ticket = -1
        self.granted = False
        self.handover: int | None = None  # residual of the handover that follows a grant
        self.attempted_at = 0
        self.contended = False
        self.suffered = False  # this acquisition had an LHP event
        self.off_since: int | None = None  # since its LHP event
        self.threshold_at: int | None = None
        self.patience: int | None = None  # what is left of it
        self.check: int | None = None  # what is left until the next one
        self.timeout = 0
        self.gave_way = False
        self.asleep = False
        self.pending = False
        # The hypervisor.
        self.state = READY
        self.home = 0  # pCPU whose queue it belongs to, or its column
        self.slot = 0
        self.wake_at: int | None = None
        self.slice_end = 0
        self.rest: int | None = None  # of its slice, kept over a yield, halt or HLT
        self.inherited: int | None = None  # rest of the slice of whoever boosted it
        self.extension_end: int | None = None
        self.extended = False  # in this slice
        self.debt = 0
        self.latency = 0  # fair: drawn for its last slice, as the granularity
        self.granularity = 0
        self.vruntime = 0  # in 2^-16 ns
        self.queued_at = 0
        self.credit = 0
        self.rank = UNDER  # credit
        self.has_run = False  # since the last accounting
        self.running_since = 0
        self.skew = 0  # relaxed co-scheduling: esx3; under esx4 the progress
        self.stopping = False  # its slice has been ended by a co-stop
        self.lagging = False  # has to start together with others
        self.exits: list[str] = []  # what the exit under way is for, and what follows it
        self.preempted = False  # is off CPU against its will
        self.in_spin_loop = False
        self.eligible = False
        self.window_exits = 0  # yields since its dispatch


class Pcpu:
    """One physical CPU."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.vcpu: Vcpu | None = None  # running, switched in, or in an exit
        self.last: Vcpu | None = None
        self.until = 0  # end of the switch or exit
        self.queue: list[Vcpu] = []  # but for `global` and `gang`
        self.floor = 0  # fair
        self.slice_began: int | None = None  # fair: None if the slice's end stands
        self.tickled = False  # credit: somebody of a higher class came during the switch
        self.held: Vcpu | None = None  # esx3: it idles for this vCPU
        self.due = False  # gang: its vCPU is preempted when it has come out of its exit


def histogram_bin(x: int) -> int:
    """16 bins to an octave, the last one open."""
    if x == 0:
        return 0
    o = x.bit_length() - 1
    return min(16 * o + (((x << 4) >> o) & 15), 703)


class Host:
    """A host and its VMs, run for one replication."""

    def __init__(
        self, configuration: Any, seed: int, replication: int, tables: Any = None, trace: bool = False
    ) -> None:
        self.configuration = configuration
        self.scheduler = configuration.scheduler
        self.relaxed = None
        if self.scheduler.kind == "relaxed_coscheduling":
            self.relaxed = self.scheduler
            names = ("slice", "placement", "order", "phase", "slice_after_yield", "tick", "ratelimit")
            self.scheduler = SimpleNamespace(
                kind=self.relaxed.base, **{n: getattr(self.relaxed, n) for n in names}
            )
            if self.scheduler.kind == "credit":
                del self.scheduler.slice_after_yield
            self.threshold_ns = self.relaxed.skew_threshold.value_ns
            resume = self.relaxed.skew_resume
            self.resume_ns = resume.value_ns if resume is not None else max(1, self.threshold_ns // 2)
            self.esx3 = self.relaxed.variant == "esx3"
        self.costarting: Vm | None = None
        self.guard = configuration.guard
        self.response = configuration.response
        self.gang = self.scheduler.kind == "gang"
        self.fair = self.scheduler.kind == "fair"
        self.credit = self.scheduler.kind == "credit"
        self.draws = Draws(seed, replication, tables)
        self.now = 0
        self.start_of_window = configuration.warmup_ns
        self.end = configuration.warmup_ns + configuration.duration_ns
        self.measuring = False
        self.tracing = trace
        self.trace: list[tuple[int, int, int, str]] = []
        self.idle_ns = 0
        self.fragmentation_ns = 0
        self.events = 0
        self.wait_histogram: dict[int, int] = {}
        self.holder_off_histogram: dict[int, int] = {}

        self.pcpus = [Pcpu(p) for p in range(configuration.host.pcpus)]
        self.vms = [Vm(spec, m) for m, spec in enumerate(configuration.vms)]
        self.vcpus: list[Vcpu] = []
        for vm in self.vms:
            for j in range(vm.spec.vcpus):
                vcpu = Vcpu(vm, j, len(self.vcpus))
                vm.vcpus.append(vcpu)
                self.vcpus.append(vcpu)
        self.queue: list[Vcpu] = []  # global only
        self.slots: list[list[Vcpu | None]] = []  # gang only
        self.slot = 0
        self.slot_end = 0
        self.next_tick = self.scheduler.tick.value_ns if self.credit else 0
        self.ticks = 0

    # Small helpers.

    def note(self, v: Vcpu | None, what: str, p: Pcpu | None = None) -> None:
        """Write one line of the trace."""
        if self.tracing:
            p = p if p is not None else (self.pcpu_of(v) if v is not None else None)
            self.trace.append(
                (self.now, p.index if p is not None else -1, v.number if v is not None else -1, what)
            )

    def count(self, v: Vcpu, counter: str, amount: int = 1) -> None:
        """Book to the VM of a vCPU."""
        v.vm.counters[counter] += amount

    def pcpu_of(self, v: Vcpu) -> Pcpu | None:
        """Return the pCPU that a vCPU occupies."""
        for p in self.pcpus:
            if p.vcpu is v:
                return p
        return None

    def queue_of(self, p: Pcpu) -> list[Vcpu]:
        """Return the run queue that a pCPU serves."""
        return self.queue if self.scheduler.kind == "global" else p.queue

    def draw(self, distribution: Any, purpose: int, v: Vcpu) -> int:
        """Next duration of a purpose of a vCPU."""
        return self.draws.next_duration(distribution, purpose, v.vm.index, v.index)

    def words(self, purpose: int, v: Vcpu) -> tuple[int, int]:
        """Return the words of a purpose that is addressed by the vCPU's cycle."""
        return self.draws.words(purpose, v.vm.index, v.index, v.cycle)

    # Start, section 4.

    def start(self) -> None:
        """Place the vCPUs, order the queues, dispatch the first ones."""
        for v in self.vcpus:
            self.start_user(v)
        if self.scheduler.kind == "round_robin":
            self.start_round_robin()
        elif self.scheduler.kind == "global":
            self.start_global()
        elif self.gang:
            self.start_gang()
        else:
            self.start_spread()

    def start_round_robin(self) -> None:
        n_pcpu = len(self.pcpus)
        first = 0
        for vm in self.vms:
            for v in vm.vcpus:
                v.home = self.place(vm, v, first, n_pcpu)
            first += len(vm.vcpus)
        for p in self.pcpus:
            p.queue = [v for v in self.vcpus if v.home == p.index]
            if self.scheduler.order == "random":
                self.draws.shuffle(p.queue, ORDER, HOST, p.index)
        for p in self.pcpus:
            if p.queue:
                self.start_on(p.queue.pop(0), p)

    def place(self, vm: Vm, v: Vcpu, first: int, n_pcpu: int) -> int:
        placement = self.scheduler.placement
        if placement == "spread":
            return (first + v.index) % n_pcpu
        if placement == "aligned":
            return v.index % n_pcpu
        if placement == "random":
            return self.draws.next_choice(n_pcpu, PLACEMENT, vm.index, v.index)
        assert placement == "balance", placement
        order = self.draws.shuffle(list(range(n_pcpu)), PLACEMENT, vm.index, v.index // n_pcpu)
        return order[v.index % n_pcpu]

    def start_global(self) -> None:
        self.queue = list(self.vcpus)
        if self.scheduler.order == "random":
            self.draws.shuffle(self.queue, ORDER, HOST, 0)
        for p in self.pcpus:
            if self.queue:
                self.start_on(self.queue.pop(0), p)

    def start_spread(self) -> None:
        """Fair and credit: nobody is pinned, but everybody is in some queue."""
        for p in self.pcpus:
            p.queue = [v for v in self.vcpus if v.number % len(self.pcpus) == p.index]
            for v in p.queue:
                v.home = p.index
            self.draws.shuffle(p.queue, ORDER, HOST, p.index)
        for p in self.pcpus:
            if p.queue:
                v = p.queue.pop(0)
                p.vcpu = p.last = v
                v.state = RUNNING
                self.new_slice(v)
                if self.credit:
                    v.slice_end = fraction(self.draws.words(PHASE, HOST, p.index, 0)[0], v.slice_end)
                    continue
                length = self.fair_length(v)
                first = fraction(self.draws.words(PHASE, HOST, p.index, 0)[0], length)
                p.slice_began = first - length
                v.slice_end = self.at_tick(first)

    def start_on(self, v: Vcpu, p: Pcpu) -> None:
        """Dispatch at time 0: no switch, and a slice cut by the phase."""
        p.vcpu = p.last = v
        v.state = RUNNING
        length = self.draw(self.scheduler.slice, SLICE, v)
        self.set_slice(v, self.cut(length, p.index))

    def cut(self, length: int, p: int) -> int:
        """First slice or slot of a pCPU."""
        phase = self.scheduler.phase
        if phase == "aligned":
            return length
        if phase == "random":
            return fraction(self.draws.words(PHASE, HOST, p, 0)[0], length)
        return max(1, round(phase[p] * length))

    def start_gang(self) -> None:
        n_pcpu = len(self.pcpus)
        for vm in self.vms:
            s = 0
            while s < len(self.slots) and self.slots[s].count(None) < len(vm.vcpus):
                s += 1
            if s == len(self.slots):
                self.slots.append([None] * n_pcpu)
            for v in vm.vcpus:
                v.home = self.slots[s].index(None)
                v.slot = s
                self.slots[s][v.home] = v
        length = self.draws.next_duration(self.scheduler.slice, SLICE, HOST, 0)
        self.slot_end = self.cut(length, 0)
        for p in self.pcpus:
            v = self.choice(p)
            if v is not None:
                p.vcpu = p.last = v
                v.state = RUNNING

    # Order of events, section 2.

    def run(self) -> Outcome:
        """Run to the end of the window."""
        self.start()
        while True:
            due, order, index, kind = self.next_event()
            assert due >= self.now
            self.elapse(due - self.now)
            self.now = due
            self.raise_floors()
            if order == 1:
                if not self.measuring:
                    self.open_window()
                else:
                    break
            elif order == 2:
                self.guest_event(self.pcpus[index])
            elif order == 3 and self.credit and self.next_tick == self.now:
                self.tick()
            elif order == 3 and self.relaxed:
                self.skew_event()
            elif order == 3:
                self.end_slot()
            elif order == 4:
                p = self.pcpus[index]
                if kind == 0 and p.vcpu.state == SWITCHED_IN:
                    self.start_running(p.vcpu)
                elif kind == 0 and p.vcpu.state == SERVING:
                    self.end_service(p.vcpu)
                elif kind == 0:
                    self.end_exit(p.vcpu)
                elif kind == 1:
                    self.end_slice(p)
                elif kind == 2:
                    self.threshold(p.vcpu)
                else:
                    self.end_patience(p.vcpu)
            else:
                self.wake(self.vcpus[index])
            self.raise_floors()
        return self.outcome()

    def next_event(self) -> tuple[int, int, int, int]:
        """(time, place in the order, index, kind) of the next event: the least of all candidates."""
        candidates = [(self.end if self.measuring else self.start_of_window, 1, 0, 0)]
        if self.gang:
            candidates.append((max(self.now, self.slot_end), 3, 0, 0))
        if self.credit:
            candidates.append((self.next_tick, 3, 0, 0))
        if self.relaxed and self.skew_due() is not None:
            candidates.append((self.skew_due(), 3, 0, 0))
        for p in self.pcpus:
            v = p.vcpu
            if v is None:
                continue
            if v.state != RUNNING:
                candidates.append((p.until, 4, p.index, 0))
                continue
            if v.phase != WAITING:
                candidates.append((self.now + v.residual, 2, p.index, 0))
            elif v.granted:
                candidates.append((self.now + v.handover, 2, p.index, 0))
            else:
                if v.threshold_at is not None:
                    candidates.append((max(self.now, v.threshold_at), 4, p.index, 2))
                times = [left for left in (v.patience, v.check) if left is not None]
                if times and (v.lock.kind != "preemptable_ticket" or times[0] > 0 or v.lock.can_be_passed()):
                    candidates.append((self.now + max(0, min(times)), 4, p.index, 3))
            if self.gang:
                if p.due:
                    candidates.append((self.now, 4, p.index, 1))
            else:
                boundary = v.slice_end if v.extension_end is None else v.extension_end
                candidates.append((max(self.now, boundary), 4, p.index, 1))
        for v in self.vcpus:
            if v.wake_at is not None:
                candidates.append((v.wake_at, 5, v.number, 0))
        return min(candidates)

    def open_window(self) -> None:
        """End of the warm-up."""
        self.measuring = True
        for vm in self.vms:
            vm.counters = dict.fromkeys(VM_COUNTERS, 0)
        self.idle_ns = 0
        self.fragmentation_ns = 0
        self.wait_histogram = {}
        self.holder_off_histogram = {}
        self.note(None, "window opens")

    # Accounts, section 5.

    def elapse(self, dt: int) -> None:
        """Let running guests progress and book the interval to every account."""
        if dt == 0:
            return
        if self.relaxed:
            self.elapse_skew(dt)
        for v in self.vcpus:
            if v.state == RUNNING:
                if v.phase != WAITING:
                    v.residual -= dt
                elif v.granted:
                    v.handover -= dt
                else:
                    v.patience = None if v.patience is None else v.patience - dt
                    v.check = None if v.check is None else v.check - dt
            if self.fair and v.state in (RUNNING, EXIT, SERVING):
                v.vruntime += dt * self.rate(v.vm)
            if self.credit and v.state in (RUNNING, EXIT, SERVING):
                v.credit -= dt
                v.has_run = True
        if not self.measuring:
            return
        anybody_queued = any([v.state in (READY, COSTOPPED) for v in self.vcpus])
        lightest = min([p.vcpu.vm.spec.weight for p in self.pcpus if p.vcpu is not None], default=math.inf)
        for p in self.pcpus:
            if p.vcpu is None:
                self.idle_ns += dt
                if anybody_queued:
                    self.fragmentation_ns += dt
            elif p.vcpu.state == SWITCHED_IN:
                p.vcpu.vm.counters["switch_ns"] += dt
        for v in self.vcpus:
            counters = v.vm.counters
            if v.state in (READY, COSTOPPED):
                counters["ready_ns" if v.state == READY else "costop_ns"] += dt
                if self.scheduler.kind not in ("global", "fair", "credit"):
                    occupant = self.pcpus[v.home].vcpu
                    lightest = math.inf if occupant is None else occupant.vm.spec.weight
                if lightest < v.vm.spec.weight:
                    counters["priority_inversion_ns"] += dt
            elif v.state == SWITCHED_IN:
                counters["ready_ns"] += dt
            elif v.state == EXIT:
                counters["exit_ns"] += dt
            elif v.state == HALTED:
                counters["halted_ns"] += dt
            elif v.state == SERVING:
                counters["kernel_ns"] += dt
            elif v.phase == USER:
                counters["user_ns"] += dt
            elif v.phase == KERNEL:
                counters["kernel_ns"] += dt
            elif v.phase == HOLDING:
                counters["hold_ns"] += dt
            else:
                assert v.phase == WAITING
                counters["spin_ns"] += dt
                owner = v.lock.owner
                if owner is None:
                    assert v.lock.has_line and v.lock.queue, "a running waiter beside a free lock"
                    counters["spin_lwp_ns"] += dt
                elif owner.state != RUNNING:
                    counters["spin_lhp_ns" if owner.phase == HOLDING else "spin_lwp_ns"] += dt

    def outcome(self) -> Outcome:
        """Check that the accounts add up, and hand them over."""
        counters = [vm.counters for vm in self.vms]
        duration = self.configuration.duration_ns
        on_cpu = ("user_ns", "kernel_ns", "hold_ns", "spin_ns", "exit_ns")
        total = sum(c[name] for c in counters for name in (*on_cpu, "switch_ns")) + self.idle_ns
        assert total == len(self.pcpus) * duration
        for vm, c in zip(self.vms, counters, strict=True):
            total = sum(c[name] for name in (*on_cpu, "ready_ns", "costop_ns", "halted_ns"))
            assert total == len(vm.vcpus) * duration
        return Outcome(
            vm={name: [c[name] for c in counters] for name in VM_COUNTERS},
            host={
                "idle_ns": self.idle_ns,
                "fragmentation_ns": self.fragmentation_ns,
                "events": self.events,
            },
            wait_histogram=self.wait_histogram,
            holder_off_histogram=self.holder_off_histogram,
            trace=self.trace,
        )

    # The guest, section 3.

    def guest_event(self, p: Pcpu) -> None:
        """End of a phase or of a handover of a running vCPU."""
        v = p.vcpu
        if v.phase == WAITING:
            assert v.granted and v.handover == 0
            self.start_holding(v)
            return
        assert v.residual == 0
        if v.length > 0:
            self.events += 1
        if v.phase == USER:
            self.start_kernel(v)
        elif v.phase == KERNEL:
            self.attempt(v)
        else:
            self.release(v)

    def start_user(self, v: Vcpu) -> None:
        v.phase = USER
        word, _ = self.draws.words(CYCLE, v.vm.index, v.index, (v.cycle - 1) & MASK)
        v.length = v.residual = self.draws.duration(v.vm.spec.user, word)

    def start_kernel(self, v: Vcpu) -> None:
        kernel = v.vm.spec.kernel
        if kernel.kind == "constant" and kernel.value_ns == 0:
            self.attempt(v)
            return
        v.phase = KERNEL
        v.length = v.residual = self.draws.duration(kernel, self.words(CHOICE, v)[0])

    def pick_lock(self, v: Vcpu) -> Lock:
        locks, weights = v.vm.locks, v.vm.spec.lock.weights
        if len(locks) == 1:
            return locks[0]
        w = self.words(CHOICE, v)[1]
        if weights is None:
            return locks[(w * len(locks)) >> 32]
        cumulated = 0.0
        for lock, weight in zip(locks[:-1], weights[:-1], strict=True):
            cumulated += weight
            if w < round(2**32 * (cumulated / sum(weights))):
                return lock
        return locks[-1]

    def attempt(self, v: Vcpu) -> None:
        lock = self.pick_lock(v)
        v.lock = lock
        v.attempted_at = self.now
        v.contended = False
        v.patience = v.check = None
        if lock.kind == "informed" and self.is_late(v):
            self.start_waiting(v)
            v.gave_way = True
            self.begin_exit(v, ["give way"])
        else:
            self.try_for(v)

    def try_for(self, v: Vcpu) -> None:
        """Take the lock, or wait for it."""
        lock = v.lock
        v.ticket = lock.next_ticket
        lock.next_ticket += 1
        if lock.is_open():
            lock.owner = v
            if lock.kind == "preemptable_ticket":
                lock.serving = v.ticket
            self.start_holding(v)
            return
        self.start_waiting(v)
        if lock.fifo:
            lock.queue.append(v)
        elif lock.has_line:
            self.look_at_line(v)
        if lock.kind == "pv_ticket":
            v.patience = self.draw(lock.vm.spec.lock.spin_threshold, PATIENCE, v)
        elif lock.kind == "preemptable_ticket":
            v.timeout = self.draw(lock.vm.spec.lock.timeout, PATIENCE, v)
            v.patience = v.timeout * (v.ticket - lock.serving)
        self.start_spinning(v)

    def start_waiting(self, v: Vcpu) -> None:
        v.phase = WAITING
        v.contended = True
        v.granted = False
        v.handover = None
        self.note(v, f"waits for lock {v.lock.index}")

    def start_holding(self, v: Vcpu) -> None:
        lock = v.lock
        assert lock.owner is v
        assert not any(w.phase == HOLDING and w.lock is lock for w in self.vcpus)
        assert v not in lock.queue
        if lock.fifo and lock.kind != "preemptable_ticket":
            assert v.ticket == lock.serving
            lock.serving += 1
        v.phase = HOLDING
        v.granted = False
        v.handover = None
        v.threshold_at = None
        v.gave_way = v.asleep = v.pending = False
        v.suffered = False
        v.length = v.residual = self.draws.duration(v.vm.spec.hold, self.words(CYCLE, v)[1])
        self.note(v, f"holds lock {lock.index}")
        self.count(v, "acquisitions")
        if v.contended:
            wait = self.now - v.attempted_at
            self.count(v, "contended_acquisitions")
            self.count(v, "wait_ns", wait)
            v.vm.counters["wait_max_ns"] = max(v.vm.counters["wait_max_ns"], wait)
            b = histogram_bin(wait)
            self.wait_histogram[b] = self.wait_histogram.get(b, 0) + 1

    def release(self, v: Vcpu) -> None:
        """Release; then the exits that follow it: a kick, and HLT or the guard's yield."""
        lock = v.lock
        self.note(v, f"releases lock {lock.index}")
        lock.owner = None
        v.lock = None
        coin = self.words(HALT, v)[0] if v.vm.spec.halt_probability > 0 else MASK
        halts = coin < round(v.vm.spec.halt_probability * 2**32)
        # Anything but HOLDING, so that the grant sees the lock as free; its residual is set below.
        v.phase = HALTED_BY_GUEST
        kicked = self.hand_on(lock, v)

        exits = ["kick"] if kicked else []
        waited_for = v.extension_end is not None and self.guard.kind in ("delay", "monitor", "driver")
        if halts:
            exits.append("hlt")
        elif waited_for:
            exits.append({"delay": "guard", "monitor": "safe", "driver": "interrupt"}[self.guard.kind])
        if v.extension_end is not None and self.guard.kind == "delay":
            self.end_extension(v)
        if not halts:
            v.cycle += 1
            self.start_user(v)
        if exits:
            self.begin_exit(v, exits)

    def hand_on(self, lock: Lock, releaser: Vcpu) -> bool:
        """Grant a released lock, or leave it free; say whether the releaser has to kick somebody."""
        m, g = lock.vm.index, lock.index
        if lock.has_line:
            return self.leave_to_line(lock, releaser)
        if lock.kind == "preemptable_ticket" and not lock.out_of_order:
            lock.serving = lock.queue[0].ticket if lock.queue else lock.next_ticket
            for w in lock.queue:
                w.patience = w.timeout * (w.ticket - lock.serving)
        lock.out_of_order = False
        if lock.fifo:
            return self.grant(lock, lock.queue.pop(0), releaser) if lock.queue else False
        running = [p.vcpu for p in self.pcpus if p.vcpu is not None and self.spins_on(p.vcpu, lock)]
        if running:
            return self.grant(lock, running[self.draws.next_choice(len(running), GRANT, m, g)], releaser)
        blocked = [w for w in self.vcpus if w.lock is lock and self.is_blocked(w)]
        if blocked:
            self.kick(blocked[self.draws.next_choice(len(blocked), KICK, m, g)], releaser)
            return True
        return False

    def is_blocked(self, v: Vcpu) -> bool:
        """Whether a waiter has blocked and was not kicked yet."""
        return v.state == HALTED and v.phase == WAITING and v.wake_at is None

    def leave_to_line(self, lock: Lock, releaser: Vcpu) -> bool:
        """Release a lock with a line; say whether the head has to be kicked."""
        head = lock.head
        if head is None:
            return False
        if head.state == RUNNING:
            lock.queue.pop(0)
            self.grant(lock, head, releaser)
            self.look_for_head(lock)
            return False
        trying = self.trying_on(lock)
        if trying and not head.pending:
            chosen = self.draws.next_choice(len(trying), GRANT, lock.vm.index, lock.index)
            self.grant(lock, trying[chosen], releaser)
        if self.is_blocked(head):
            self.kick(head, releaser)
            return True
        return False

    def trying_on(self, lock: Lock) -> list[Vcpu]:
        """Who spins beside the line, in pCPU order."""
        running = [p.vcpu for p in self.pcpus if p.vcpu is not None]
        return [w for w in running if self.spins_on(w, lock) and not w.granted and w not in lock.queue]

    def look_at_line(self, v: Vcpu) -> None:
        """Let a running waiter join the line, or try on."""
        lock = v.lock
        if lock.kind == "hybrid_queue" and lock.head is not None and not lock.head.pending:
            return
        self.note(v, "joins the line")
        lock.queue.append(v)
        if lock.head is not v:
            v.patience = self.draw(lock.vm.spec.lock.spin_threshold, PATIENCE, v)
            v.check = self.draw(lock.vm.spec.lock.check, CHECK, v)
        self.look_for_head(lock)

    def look_for_head(self, lock: Lock) -> None:
        """A running head becomes pending, with a new threshold; then nobody tries on any more."""
        head = lock.head
        if head is None or head.pending or head.state != RUNNING:
            return
        head.pending = True
        head.patience = self.draw(lock.vm.spec.lock.spin_threshold, PATIENCE, head)
        head.check = None
        for w in self.trying_on(lock):
            self.look_at_line(w)

    def end_patience(self, v: Vcpu) -> None:
        """What the lock kind has a waiter do after a time of its own spinning."""
        lock = v.lock
        if lock.kind == "informed":
            self.begin_exit(v, ["give way"])
        elif lock.kind == "pv_ticket":
            self.begin_exit(v, ["halt"])
        elif lock.kind == "preemptable_ticket":
            if lock.can_be_passed():
                self.pass_owner(lock)
        elif v.patience == 0:
            self.begin_exit(v, ["halt"])
        else:
            before = lock.queue[lock.queue.index(v) - 1]
            if before.state == RUNNING:
                v.check = self.draw(lock.vm.spec.lock.check, CHECK, v)
            else:
                self.begin_exit(v, ["halt"])

    def pass_owner(self, lock: Lock) -> None:
        """The first waiter that runs and has no patience left takes the lock out of order."""
        passing = next(
            w for w in lock.queue if w.state == RUNNING and w.patience is not None and w.patience <= 0
        )
        owner = lock.owner
        owner.granted = False
        owner.handover = None
        owner.patience = None
        lock.queue.remove(passing)
        lock.queue.insert(0, owner)
        lock.owner = passing
        lock.out_of_order = True
        self.note(passing, f"passes vCPU {owner.number}")
        self.start_holding(passing)

    def is_late(self, v: Vcpu) -> bool:
        """Whether less than the reserve is left of the slice."""
        return v.slice_end - self.now < self.draw(v.vm.spec.lock.reserve, PATIENCE, v)

    def spins_on(self, v: Vcpu, lock: Lock) -> bool:
        return v.state == RUNNING and v.phase == WAITING and v.lock is lock

    def grant(self, lock: Lock, v: Vcpu, releaser: Vcpu) -> bool:
        """Make a waiter the owner; say whether it has to be kicked."""
        self.note(v, f"is granted lock {lock.index}")
        lock.owner = v
        v.granted = True
        v.threshold_at = None
        handover = lock.vm.spec.handover
        if not (handover.kind == "constant" and handover.value_ns == 0):
            v.handover = self.draw(handover, HANDOVER, v)
            if lock.kind not in ("queue", "pv_queue", "hybrid_queue"):
                k = 1 + sum(self.spins_on(w, lock) for w in self.vcpus if w is not v)
                v.handover = v.handover * (1 + k) // 2
        if v.state == RUNNING:
            if v.handover is None:
                self.start_holding(v)
            return False
        self.count(v, "lwp_grants")
        if self.is_blocked(v):
            self.kick(v, releaser)
            return True
        return False

    def kick(self, v: Vcpu, releaser: Vcpu) -> None:
        self.count(releaser, "kicks")
        self.note(v, "is kicked")
        lock = v.vm.spec.lock
        wakeup = lock.wakeup if hasattr(lock, "wakeup") else self.response.wakeup
        v.wake_at = self.now + self.draw(wakeup, WAKEUP, v)

    def start_spinning(self, v: Vcpu) -> None:
        """Begin to spin, with a new threshold if there is a response."""
        v.threshold_at = None
        if self.response.kind != "none":
            drawn = self.draw(self.response.spin_threshold, THRESHOLD, v)
            grown = drawn
            if self.response.kind == "directed_yield" and self.response.window_grow > 1:
                grown = drawn * self.response.window_grow**v.window_exits
                grown = max(drawn, min(grown, self.response.window_max.value_ns))
            v.threshold_at = self.now + grown

    def go_on(self, v: Vcpu) -> None:
        """Do what a vCPU does that starts to run."""
        v.state = RUNNING
        v.preempted = v.in_spin_loop = v.eligible = False
        if v.phase != WAITING:
            return
        if v.granted:
            if v.handover is None:
                self.start_holding(v)
        elif v.gave_way:
            if self.is_late(v):
                v.patience = 0
            else:
                v.gave_way = False
                v.patience = None
                self.try_for(v)
        elif v.lock.kind == "test_and_set" and v.lock.owner is None:
            v.lock.owner = v
            self.start_holding(v)
        elif v.lock.has_line:
            self.go_on_in_line(v)
        else:
            self.start_spinning(v)

    def go_on_in_line(self, v: Vcpu) -> None:
        """A waiter of a lock with a line starts to run."""
        lock = v.lock
        v.asleep = False
        if v not in lock.queue:
            if lock.is_open():
                lock.owner = v
                self.start_holding(v)
                return
            self.look_at_line(v)
        elif v is lock.head and lock.owner is None:
            lock.queue.pop(0)
            lock.owner = v
            self.start_holding(v)
            self.look_for_head(lock)
            return
        self.look_for_head(lock)
        self.start_spinning(v)

    # The hypervisor, section 4.

    def dispatch(self, v: Vcpu, p: Pcpu) -> None:
        """Give an idle pCPU to a vCPU that is in no queue."""
        assert p.vcpu is None and v.state == READY
        another = p.last is not None and p.last is not v
        p.vcpu = p.last = v
        p.due = False
        v.window_exits = 0
        self.note(v, "is dispatched")
        if another:
            self.count(v, "context_switches")
            self.events += 1
            length = self.draw(self.configuration.host.context_switch, SWITCH_TIME, v)
            if length > 0:
                v.state = SWITCHED_IN
                p.until = self.now + length
                return
        self.start_running(v)

    def start_running(self, v: Vcpu) -> None:
        """Begin to run after a dispatch: the slice begins."""
        self.note(v, "runs")
        if v.off_since is not None:
            spell = self.now - v.off_since
            v.off_since = None
            self.count(v, "holder_off_ns", spell)
            self.count(v, "holder_off_spells")
            v.vm.counters["holder_off_max_ns"] = max(v.vm.counters["holder_off_max_ns"], spell)
            b = histogram_bin(spell)
            self.holder_off_histogram[b] = self.holder_off_histogram.get(b, 0) + 1
        if not self.gang:
            if v.inherited is not None:
                self.set_slice(v, v.inherited)
            elif v.rest is not None:
                self.set_slice(v, v.rest)
            else:
                self.new_slice(v)
            v.inherited = v.rest = None
            v.running_since = self.now
            v.stopping = False
            p = self.pcpu_of(v)
            if p.tickled:
                p.tickled = False
                v.slice_end = min(v.slice_end, self.now + self.scheduler.ratelimit.value_ns)
        self.go_on(v)

    def new_slice(self, v: Vcpu) -> None:
        """Draw a slice, less what the vCPU owes."""
        full = self.draw_fair_slice(v) if self.fair else self.draw(self.scheduler.slice, SLICE, v)
        length = max(1, full - v.debt)
        v.debt = 0
        self.set_slice(v, length)
        v.stopping = False
        p = self.pcpu_of(v)
        p.slice_began = self.now + length - full

    def set_slice(self, v: Vcpu, length: int) -> None:
        self.pcpu_of(v).slice_began = None
        v.slice_end = self.now + length
        if self.fair:
            v.slice_end = self.at_tick(v.slice_end)
        v.extension_end = None
        v.extended = False

    def leave(self, v: Vcpu) -> Pcpu:
        """Take a vCPU off its pCPU."""
        p = self.pcpu_of(v)
        p.vcpu = None
        p.due = False
        v.threshold_at = None
        v.extension_end = None
        v.rest = None
        v.inherited = None
        return p

    def leave_switch(self, v: Vcpu) -> None:
        """Break a switch off: the slice that was to begin is still to come."""
        kept = v.rest, v.inherited
        self.leave(v)
        v.rest, v.inherited = kept

    def keep_rest(self, v: Vcpu) -> None:
        """After a yield, a halt or HLT: keep the rest of the slice, if the scheduler says so."""
        if getattr(self.scheduler, "slice_after_yield", "full") == "rest" and v.slice_end > self.now:
            v.rest = v.slice_end - self.now

    def to_tail(self, v: Vcpu, yields: bool = False) -> None:
        v.state = READY
        v.queued_at = self.now
        if self.relaxed:
            v.stopping = False
            if self.has_to_stop(v):
                v.state = COSTOPPED
                if v.lagging and self.costarting is v.vm:
                    self.queue_laggard(v)
                return
        if self.credit:
            self.queue_by_class(v, yields)
        elif not self.gang:
            self.queue_of(self.pcpus[v.home]).append(v)

    def pick(self, p: Pcpu) -> None:
        """Dispatch whom a notification asks for, else who is next, if anybody."""
        v = next((v for v in self.queue_of(p) if v is not p.last and self.is_wanted(v)), None)
        if v is None:
            self.choose(p)
            return
        self.note(v, "is picked out of turn", p)
        v.vm.marked = False
        self.queue_of(p).remove(v)
        v.home = p.index
        self.dispatch(v, p)

    def choose(self, p: Pcpu) -> None:
        """Dispatch the scheduler's choice."""
        if self.gang:
            v = self.choice(p)
        elif self.fair:
            v = self.pick_fair(p)
        elif self.credit:
            v = self.best_of(p)
            if v is not None:
                self.pcpus[v.home].queue.remove(v)
                v.home = p.index
        else:
            queue = self.queue_of(p)
            v = queue.pop(0) if queue else None
        if v is not None and v.lagging:
            self.note(v, "waits for its siblings", p)
            p.held = v
        elif v is not None:
            self.dispatch(v, p)

    def is_wanted(self, v: Vcpu) -> bool:
        """Whether a notification asks for this queued vCPU."""
        return v.vm.marked and v.state == READY and v.preempted and v.phase in (HOLDING, WAITING)

    def preempt(self, v: Vcpu) -> None:
        """Take the pCPU from a running vCPU against its will."""
        assert v.state in (RUNNING, SERVING) or v.exits == ["safe"]
        v.preempted = True
        self.note(v, f"is preempted, {v.phase}")
        self.count(v, "preemptions")
        if v.phase == HOLDING:
            self.count(v, "lhp_events")
            if not v.suffered:
                self.count(v, "lhp_acquisitions")
                v.suffered = True
            v.off_since = self.now
        elif v.phase == WAITING:
            self.count(v, "lwp_events")
        p = self.leave(v)
        self.to_tail(v)
        self.pick(p)

    def end_slice(self, p: Pcpu) -> None:
        """End of a slice or of an extension."""
        v = p.vcpu
        if self.gang:
            self.preempt(v)
            return
        ends_extension = v.extension_end is not None
        if ends_extension:
            self.end_extension(v)
        if not self.others_are_due(p):
            self.new_slice(v)
        elif ends_extension:
            if v.phase == HOLDING or self.guard.kind in ("monitor", "monitor_halt"):
                self.count(v, "extensions_expired")
            self.preempt(v)
        elif not self.extend(v):
            self.preempt(v)
        elif self.guard.kind == "driver" and v.phase != HOLDING:
            self.begin_service(v)

    def others_are_due(self, p: Pcpu) -> bool:
        """Whether the slice end of a pCPU's vCPU lets another one run."""
        if self.relaxed and self.has_to_stop(p.vcpu):
            return True
        if self.fair:
            return any(u.vruntime <= p.vcpu.vruntime for u in p.queue)
        if self.credit:
            rank = p.vcpu.rank
            if p.queue and p.queue[0].rank >= rank:
                return True
            best = self.best_of(p)
            return rank == OVER and best is not None and best.rank > OVER
        return bool(self.queue_of(p))

    def extend(self, v: Vcpu) -> bool:
        """Ask the guard; say whether the vCPU may go on."""
        kind = self.guard.kind
        if kind == "none" or v.extended:
            return False
        if (kind in ("delay", "extra_slice") and v.phase != HOLDING) or (
            kind == "monitor" and v.phase == USER
        ):
            return False
        name = {"extra_slice": "length", "monitor_halt": "window"}.get(kind, "cap")
        length = self.draw(getattr(self.guard, name), EXTENSION, v)
        if length == 0:
            return False
        self.note(v, f"is extended by {length}")
        self.count(v, "extensions")
        v.extension_end = self.now + length
        v.extended = True
        return True

    def end_extension(self, v: Vcpu) -> None:
        if self.guard.kind == "delay" and self.guard.repay:
            v.debt += self.now - v.slice_end
        v.extension_end = None

    def begin_service(self, v: Vcpu) -> None:
        """Let the guest serve the interrupt of guard `driver`."""
        self.note(v, "serves the interrupt")
        v.state = SERVING
        v.threshold_at = None
        length = self.draw(self.guard.latency, INTERRUPT, v)
        p = self.pcpu_of(v)
        p.until = self.now + length
        v.exits = []
        if length == 0:
            self.end_service(v)
        elif v.extension_end < p.until:
            v.exits = ["cut short"]
            p.until = max(self.now, v.extension_end)

    def end_service(self, v: Vcpu) -> None:
        """The interrupt is served, or the cap has come before."""
        cut_short = v.exits == ["cut short"]
        v.exits = []
        self.preempt_unless_alone(v, cut_short)

    def preempt_unless_alone(self, v: Vcpu, expired: bool) -> None:
        """End an extension where its guard wanted it to end."""
        self.end_extension(v)
        if not self.others_are_due(self.pcpu_of(v)):
            self.new_slice(v)
            self.keep(v)
            return
        if expired:
            self.count(v, "extensions_expired")
        self.preempt(v)

    def begin_exit(self, v: Vcpu, exits: list[str]) -> None:
        """Leave the guest: count what for, and let the exit's time pass."""
        v.exits = exits
        v.threshold_at = None
        reason = exits[0]
        if reason == "safe":
            self.preempt_unless_alone(v, expired=False)
            return
        if reason == "interrupt":
            self.begin_service(v)
            return
        self.note(v, f"exits: {reason}")
        if reason == "yield":
            self.count(v, "yields")
            v.window_exits += 1
            v.in_spin_loop = True
        elif reason == "guard":
            self.count(v, "guard_yields")
        elif reason == "give way":
            self.count(v, "informed_yields")
        elif reason == "hlt":
            self.count(v, "guest_halts")
        if reason not in ("kick", "notify") and v.extension_end is not None:
            self.end_extension(v)
        length = self.draw(self.configuration.host.vm_exit, EXIT_TIME, v)
        v.state = EXIT
        if length > 0:
            self.pcpu_of(v).until = self.now + length
        else:
            self.end_exit(v)

    def end_exit(self, v: Vcpu) -> None:
        """End of an exit: the next one, or what the last one was for."""
        reason, *following = v.exits
        v.exits = following
        if following:
            self.begin_exit(v, following)
        elif reason == "kick":
            self.keep(v)
        elif reason == "notify":
            v.vm.marked = True
            self.keep(v)
        elif reason == "hlt":
            halt_time = self.draws.duration(v.vm.spec.halt_time, self.words(HALT, v)[1])
            v.cycle += 1
            self.start_user(v)
            v.wake_at = self.now + halt_time
            self.block(v)
        elif reason == "guard":
            p = self.leave(v)
            self.keep_rest(v)
            self.to_tail(v, yields=True)
            self.pick(p)
        elif reason == "halt":
            free = v.lock.owner is None and (v.lock.kind == "test_and_set" or v is v.lock.head)
            if v.granted or free:
                self.keep(v)
            else:
                self.count(v, "halts")
                v.asleep, v.pending = True, False
                self.block(v)
        elif reason == "give way":
            self.end_giving_way(v)
        else:
            self.end_spin_yield(v)

    def end_giving_way(self, v: Vcpu) -> None:
        """End of the exit of a vCPU that is late in its slice."""
        p = self.pcpu_of(v)
        if self.queue_of(p):
            self.leave(v)
            self.to_tail(v)
            self.pick(p)
            return
        self.new_slice(v)
        v.state = RUNNING
        v.gave_way = False
        v.patience = None
        self.try_for(v)

    def keep(self, v: Vcpu) -> None:
        """Go on after an exit on the same pCPU; an ended slice is the next event's business."""
        self.note(v, "goes on")
        self.go_on(v)

    def block(self, v: Vcpu) -> None:
        self.note(v, "halts")
        p = self.leave(v)
        self.keep_rest(v)
        v.state = HALTED
        self.pick(p)

    def wake(self, v: Vcpu) -> None:
        """Make a halted or blocked vCPU runnable."""
        self.note(v, "wakes up")
        v.wake_at = None
        if self.fair:
            self.wake_fair(v)
            return
        v.lagging = False
        if self.relaxed and self.has_to_stop(v):
            v.state = COSTOPPED
            return
        if self.credit:
            if v.rank == UNDER:
                v.rank = BOOST
            self.join(v)
            return
        self.join_fifo(v)

    def join_fifo(self, v: Vcpu) -> None:
        """Queue a runnable vCPU under the other schedulers; an idle pCPU takes it."""
        self.to_tail(v)
        if self.gang:
            self.wake_in_column(v)
        elif self.scheduler.kind == "global":
            idle = [p for p in self.pcpus if p.vcpu is None]
            if idle:
                self.pick(idle[0])
        elif self.pcpus[v.home].vcpu is None and self.pcpus[v.home].held is None:
            self.pick(self.pcpus[v.home])

    # Responses.

    def threshold(self, v: Vcpu) -> None:
        """A spinner has spun long enough."""
        reason = self.response.kind if self.response.kind in ("halt", "notify") else "yield"
        self.begin_exit(v, [reason])

    def end_spin_yield(self, v: Vcpu) -> None:
        """End of the exit of a spin yield: to a target, to the tail, or go on spinning."""
        p = self.pcpu_of(v)
        if self.gang:
            self.keep(v)
            return
        if self.response.kind == "directed_yield":
            target = self.seek_target(v, p)
            if target is not None and self.obeys(target, p):
                self.boost(target, v, p)
                return
            self.count(v, "directed_yields_none")
            if target is None and self.response.target == "round_robin":
                self.keep(v)
                return
        if not self.queue_of(p):
            self.keep(v)
            return
        self.leave(v)
        self.keep_rest(v)
        self.to_tail(v, yields=True)
        self.pick(p)

    def seek_target(self, v: Vcpu, p: Pcpu) -> Vcpu | None:
        """Find the queued sibling to run instead, in vCPU order."""
        anywhere = self.scheduler.kind in ("global", "fair", "credit") or self.response.migrate
        if self.response.target == "round_robin":
            return self.next_in_turn(v, p, anywhere)
        siblings = [s for s in v.vm.vcpus if s.state == READY and (anywhere or s.home == p.index)]
        if self.response.target == "holder":
            siblings = [s for s in siblings if s.lock is v.lock and self.owns(s)]
        elif self.response.target == "waiter":
            siblings = [s for s in siblings if s.phase == WAITING and not self.owns(s)]
        if not siblings:
            return None
        return siblings[self.draws.next_choice(len(siblings), TARGET, v.vm.index, v.index)]

    def owns(self, v: Vcpu) -> bool:
        """Whether a vCPU holds a lock, was granted it, or has it left to itself as the head of the line."""
        if v.phase == WAITING and v.lock.has_line and v.lock.owner is None:
            return v is v.lock.head
        return v.lock is not None and v.lock.owner is v

    def next_in_turn(self, v: Vcpu, p: Pcpu, anywhere: bool) -> Vcpu | None:
        """KVM's choice: the next eligible sibling after the last one that was boosted."""
        vm = v.vm
        failures = 0
        for s in vm.vcpus[vm.last_boosted + 1 :] + vm.vcpus[: vm.last_boosted + 1]:
            if s is v or s.state != READY or (s.preempted and s.phase == USER):
                continue
            if s.in_spin_loop:
                s.eligible = not s.eligible
                if s.eligible:  # it was not when it was looked at
                    continue
            if anywhere or s.home == p.index:
                vm.last_boosted = s.index
                return s
            failures += 1
            if failures == 3:
                return None
        return None

    def boost(self, target: Vcpu, v: Vcpu, p: Pcpu) -> None:
        """Run the target instead of the yielder."""
        if self.owns(target):
            self.count(v, "directed_yields_holder")
        elif target.phase == WAITING:
            self.count(v, "directed_yields_waiter")
        else:
            self.count(v, "directed_yields_other")
        if self.fair:
            self.move_fair(target, p)
        else:
            self.queue_of(self.pcpus[target.home]).remove(target)
        rest = v.slice_end - self.now
        self.leave(v)
        if self.response.boost_slice == "full":
            self.keep_rest(v)
        self.to_tail(v, yields=True)
        target.rest = None
        if self.response.boost_slice == "rest" and rest > 0:
            target.inherited = rest
        target.home = p.index
        self.dispatch(target, p)

    # Fair scheduling.

    def rate(self, vm: Vm) -> int:
        """Virtual runtime of a vCPU per ns."""
        runnable = sum(v.state != HALTED for v in vm.vcpus)
        weight = max(15, round(1024 * vm.spec.weight))
        return (2**26 * runnable + weight // 2) // weight

    def members(self, p: Pcpu) -> list[Vcpu]:
        """Return the vCPUs on a pCPU and in its queue."""
        return [*p.queue, *([p.vcpu] if p.vcpu is not None else [])]

    def raise_floors(self) -> None:
        if self.fair:
            for p in self.pcpus:
                p.floor = max([p.floor, min([v.vruntime for v in self.members(p)], default=p.floor)])

    def at_tick(self, end: int) -> int:
        """Round a slice end up to the tick, if there is one."""
        tick = self.scheduler.tick.value_ns
        return -(-end // tick) * tick if tick else end

    def draw_fair_slice(self, v: Vcpu) -> int:
        latency, granularity = self.scheduler.latency, self.scheduler.granularity
        w0 = w1 = 0
        if latency.kind != "constant" or granularity.kind != "constant":
            owner = (SLICE, v.vm.index, v.index)
            n = self.draws.counters.get(owner, 0)
            self.draws.counters[owner] = n + 1
            w0, w1 = self.draws.words(*owner, n)
        v.latency = self.draws.duration(latency, w0)
        v.granularity = self.draws.duration(granularity, w1)
        return self.fair_length(v)

    def fair_length(self, v: Vcpu) -> int:
        return max(v.latency // len(self.members(self.pcpu_of(v))), v.granularity)

    def number_changed(self, p: Pcpu) -> None:
        """Look at the slice on a pCPU again: another number of vCPUs shares the latency."""
        v = p.vcpu
        if (
            v is None
            or v.state == SWITCHED_IN
            or p.slice_began is None
            or v.extended
            or v.slice_end <= self.now
        ):
            return
        v.slice_end = self.at_tick(max(self.now, p.slice_began + self.fair_length(v)))

    def pick_fair(self, p: Pcpu) -> Vcpu | None:
        """Choose the queued vCPU with the least vruntime, the one that has just run last of all; else pull one."""
        if p.queue:
            others = [v for v in p.queue if v is not p.last] or p.queue
            v = min(others, key=lambda v: v.vruntime)
            p.queue.remove(v)
            return v
        queued = [v for v in self.vcpus if v.state == READY]
        if not queued:
            return None
        v = min(queued, key=lambda v: v.queued_at)
        self.move_fair(v, p)
        return v

    def move_fair(self, v: Vcpu, p: Pcpu) -> None:
        """Take a vCPU out of its queue; it belongs to another pCPU from now on."""
        q = self.pcpus[v.home]
        q.queue.remove(v)
        self.change_home(v, p)
        if q is not p:
            self.number_changed(q)

    def change_home(self, v: Vcpu, p: Pcpu) -> None:
        v.vruntime += p.floor - self.pcpus[v.home].floor
        v.home = p.index

    def wake_fair(self, v: Vcpu) -> None:
        """Let a sleeper queue, and preempt if it is far enough ahead."""
        idle = [p for p in self.pcpus if p.vcpu is None]
        if idle:
            self.change_home(v, idle[0])
        p = self.pcpus[v.home]
        v.vruntime = max(v.vruntime, p.floor - (v.latency // 2) * 2**16)
        self.to_tail(v)
        if idle:
            self.pick(p)
            return
        self.number_changed(p)
        u = p.vcpu
        if u.vruntime - v.vruntime <= self.scheduler.wakeup_granularity.value_ns * 2**16:
            return
        self.note(v, "is ahead")
        if u.state == SWITCHED_IN:
            self.leave_switch(u)
            self.to_tail(u)
            self.pick(p)
        elif not u.extended and u.slice_end > self.now:
            p.slice_began = None
            u.slice_end = self.now

    def obeys(self, target: Vcpu, p: Pcpu) -> bool:
        """Whether a directed yield's target is not too far behind."""
        if not self.fair:
            return True
        vruntime = target.vruntime + p.floor - self.pcpus[target.home].floor
        least = min(v.vruntime for v in self.members(p))
        return vruntime - least <= self.scheduler.wakeup_granularity.value_ns * 2**16

    # Credit scheduling.

    def queue_by_class(self, v: Vcpu, yields: bool) -> None:
        """Queue a vCPU behind all of its class; a yielder behind one of a lower class too."""
        queue = self.pcpus[v.home].queue
        place = next((i for i, u in enumerate(queue) if u.rank < v.rank), len(queue))
        if yields and place < len(queue):
            place += 1
        queue.insert(place, v)

    def best_of(self, p: Pcpu) -> Vcpu | None:
        """Whom a pCPU runs next: the head of its queue, or a stolen one of a higher class."""
        own = p.queue[0] if p.queue else None
        rank = -1 if own is None else own.rank
        if rank <= OVER:
            for i in range(1, len(self.pcpus)):
                for v in self.pcpus[(p.index + i) % len(self.pcpus)].queue:
                    if v.rank > rank:
                        return v
        return own

    def join(self, v: Vcpu) -> None:
        """Give a runnable vCPU to an idle pCPU, or queue it and let it preempt a lower class."""
        for p in self.pcpus:
            if p.vcpu is None and p.held is None:
                v.home = p.index
                self.to_tail(v)
                self.pick(p)
                return
        self.to_tail(v)
        p = self.pcpus[v.home]
        u = p.vcpu
        if u is None or u.rank >= v.rank:
            return
        self.note(v, "is of a higher class")
        if u.state == SWITCHED_IN:
            p.tickled = True
        elif not u.extended:
            u.slice_end = min(u.slice_end, max(self.now, u.running_since + self.scheduler.ratelimit.value_ns))

    def tick(self) -> None:
        """End boosts; deal credit at every third tick."""
        self.next_tick = self.now + self.scheduler.tick.value_ns
        self.ticks += 1
        for p in self.pcpus:
            for v in (p.vcpu, p.held):
                if v is not None and v.rank == BOOST:
                    v.rank = UNDER
        if self.ticks % 3 != 0:
            return
        most = max(1, round(self.scheduler.slice.mean_ns))
        dealt = len(self.pcpus) * 3 * self.scheduler.tick.value_ns
        active = {vm.index: [v for v in vm.vcpus if v.has_run or v.state != HALTED] for vm in self.vms}
        weights = {vm.index: min(max(1, round(256 * vm.spec.weight)), 65535) for vm in self.vms}
        total = sum(weights[m] for m in active if active[m])
        for m, vcpus in active.items():
            for v in vcpus:
                v.credit = max(-most, min(most, v.credit + dealt * weights[m] // total // len(vcpus)))
        for v in self.vcpus:
            v.has_run = False
            v.rank = UNDER if v.credit >= 0 else OVER
        for p in self.pcpus:
            p.queue.sort(key=lambda v: -v.rank)

    # Relaxed co-scheduling.

    def progresses(self, v: Vcpu) -> bool:
        return v.state in (RUNNING, SERVING, HALTED)

    def elapse_skew(self, dt: int) -> None:
        for vm in self.vms:
            grows = any(self.progresses(v) for v in vm.vcpus)
            for v in vm.vcpus:
                if not self.esx3:
                    v.skew += dt * self.progresses(v)
                elif self.progresses(v):
                    v.skew = max(0, v.skew - dt)
                elif grows:
                    v.skew += dt

    def has_to_stop(self, v: Vcpu) -> bool:
        if self.esx3:
            return v.vm.stopped_at is not None
        return v.skew - min(s.skew for s in v.vm.vcpus) > self.threshold_ns

    def due_of_vcpu(self, v: Vcpu) -> int | None:
        """When a vCPU is co-stopped or runnable again under esx4, as things are."""
        siblings = [(v.skew - s.skew, self.progresses(s)) for s in v.vm.vcpus if s is not v]
        if v.state == RUNNING and not v.stopping:
            times = [
                max(0, self.threshold_ns + 1 - gap)
                for gap, progresses in siblings
                if not progresses or gap > self.threshold_ns
            ]
            return self.now + min(times) if times else None
        if v.state == COSTOPPED:
            if any(gap >= self.resume_ns for gap, progresses in siblings if not progresses):
                return None
            return self.now + max(max(0, gap - self.resume_ns + 1) for gap, _ in siblings)
        return None

    def due_of_vm(self, vm: Vm) -> int | None:
        """When a VM is co-stopped under esx3, as things are."""
        if vm.stopped_at is not None or not any(self.progresses(v) for v in vm.vcpus):
            return None
        times = []
        for v in vm.vcpus:
            if v.state == READY:
                p = self.pcpus[v.home]
                ahead = [u for u in (p.vcpu, p.held) if u is not None] + p.queue[: p.queue.index(v)]
                if not any(u.vm is vm for u in ahead):
                    times.append(self.now + max(0, self.threshold_ns + 1 - v.skew))
        return min(times, default=None)

    def longest_stopped(self) -> Vm | None:
        stopped = [vm for vm in self.vms if vm.stopped_at is not None]
        return min(stopped, key=lambda vm: vm.stopped_at, default=None)

    def is_complete(self, vm: Vm) -> bool:
        """Whether all who have to start together have a pCPU, or one before them in their queue."""
        return all(
            v.state == COSTOPPED and self.pcpus[v.home].held is not None and self.pcpus[v.home].held.vm is vm
            for v in vm.vcpus
            if v.lagging and v.state != HALTED
        )

    def skew_due(self) -> int | None:
        """When the skew, or a co-start, next demands something."""
        if not self.esx3:
            times = [self.due_of_vcpu(v) for v in self.vcpus]
        else:
            times = [self.due_of_vm(vm) for vm in self.vms]
            if self.costarting is not None:
                times.append(self.now if self.is_complete(self.costarting) else None)
            elif self.longest_stopped() is not None:
                times.append(self.now)
        return min([time for time in times if time is not None], default=None)

    def skew_event(self) -> None:
        """One co-start or co-stop."""
        if not self.esx3:
            v = next(v for v in self.vcpus if self.due_of_vcpu(v) == self.now)
            if v.state == COSTOPPED:
                self.note(v, "is runnable again")
                v.state = READY
                self.rejoin(v)
            else:
                self.note(v, "is too far ahead")
                self.end_for_stop(v)
        elif self.costarting is not None and self.is_complete(self.costarting):
            self.co_start(self.costarting)
        elif self.costarting is None and self.longest_stopped() is not None:
            self.costarting = self.longest_stopped()
            for v in self.costarting.vcpus:
                if v.lagging and v.state == COSTOPPED:
                    self.queue_laggard(v)
            for p in self.pcpus:
                if p.vcpu is None and p.held is None:
                    self.pick(p)
        else:
            self.co_stop(next(vm for vm in self.vms if self.due_of_vm(vm) == self.now))

    def rejoin(self, v: Vcpu) -> None:
        if self.credit:
            self.join(v)
        else:
            self.join_fifo(v)

    def end_for_stop(self, v: Vcpu) -> None:
        """End the slice of a vCPU that has to stop."""
        v.stopping = True
        if not v.extended:
            v.slice_end = min(v.slice_end, self.now)

    def co_stop(self, vm: Vm) -> None:
        self.note(vm.vcpus[0], "and its siblings are co-stopped")
        vm.stopped_at = self.now
        for v in vm.vcpus:
            v.lagging = v.state != HALTED and v.skew > self.resume_ns
            if v.state == READY:
                self.pcpus[v.home].queue.remove(v)
                v.state = COSTOPPED
        for p in self.pcpus:
            v = p.vcpu
            if v is None or v.vm is not vm:
                continue
            if v.state == SWITCHED_IN:
                p.tickled = False
                self.leave_switch(v)
                v.state = COSTOPPED
                self.pick(p)
            else:
                self.end_for_stop(v)

    def queue_laggard(self, v: Vcpu) -> None:
        """Put a laggard first in its queue, but behind siblings with lower numbers."""
        v.rank = BOOST
        queue = self.pcpus[v.home].queue
        place = 0
        while place < len(queue) and queue[place].lagging and queue[place].number < v.number:
            place += 1
        queue.insert(place, v)

    def co_start(self, vm: Vm) -> None:
        self.note(vm.vcpus[0], "and its siblings co-start")
        self.costarting = vm.stopped_at = None
        for p in self.pcpus:
            if p.held is not None:
                v, p.held = p.held, None
                v.lagging = False
                v.state = READY
                self.dispatch(v, p)
        for v in vm.vcpus:
            if v.state == COSTOPPED:
                v.state = READY
                if not v.lagging:
                    self.rejoin(v)
            v.lagging = False

    # Gang scheduling.

    def choice(self, p: Pcpu) -> Vcpu | None:
        """Who should have a column now."""
        slots = [(self.slot + i) % len(self.slots) for i in range(len(self.slots))]
        for s in slots if self.scheduler.fill else slots[:1]:
            v = self.slots[s][p.index]
            if v is not None and v.state != HALTED:
                return v
        return None

    def end_slot(self) -> None:
        """Move to the next slot, columns in order."""
        self.slot_end = self.now + self.draws.next_duration(self.scheduler.slice, SLICE, HOST, 0)
        self.slot = (self.slot + 1) % len(self.slots)
        self.note(None, f"slot {self.slot} begins")
        for p in self.pcpus:
            v, choice = p.vcpu, self.choice(p)
            if v is None:
                self.pick(p)
            elif v.state == EXIT:
                p.due = v is not choice
            elif v is choice:
                continue
            elif v.state == SWITCHED_IN:
                self.break_off(v)
            else:
                self.preempt(v)

    def break_off(self, v: Vcpu) -> None:
        """End a switch before its vCPU has run."""
        self.note(v, "is broken off")
        p = self.leave(v)
        v.state = READY
        self.pick(p)

    def wake_in_column(self, v: Vcpu) -> None:
        p = self.pcpus[v.home]
        if p.vcpu is None:
            self.pick(p)
        elif v.slot == self.slot:
            filler = p.vcpu
            if filler.state == RUNNING:
                self.preempt(filler)
            elif filler.state == SWITCHED_IN:
                self.break_off(filler)
            else:
                p.due = True


def simulate(
    configuration: Any,
    seed: int,
    replication: int,
    tables: Callable[[Any], Any] | None = None,
    trace: bool = False,
) -> Outcome:
    """Simulate one replication of a configuration.

    Parameters
    ----------
    configuration : fastlhp.model.configuration.Configuration
        What to simulate.
    seed, replication : int
        The first two parts of the name of every random number.
    tables : callable, optional
        ``tables(distribution) -> (a, b)``, two float32 arrays of 673 segments; needed for distributions that
        are neither constant nor exponential.
    trace : bool
        Whether to write every step into ``Outcome.trace``, as (time, pCPU, vCPU, what).

    Returns
    -------
    Outcome
        Counters per VM and of the host, and the histograms.
    """
    return Host(configuration, seed, replication, tables, trace).run()
