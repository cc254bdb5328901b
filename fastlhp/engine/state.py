"""The one definition of the engine's state.

A lane of a block simulates one replication, in one of two representations; `course.py` changes one into the other.

*The course* is what the vector passes work on (int32, lanes last): of each running vCPU when it will next attempt its
lock, and of each lock from when on it is free, if no hypervisor intervenes. One row for each pCPU, in tiles of `TILE`
rows, ``rows[tile][field][row in tile][lane]``; lock values and lane values are arrays ``[value][lane]``. In hosts of
more than `BY_TILES` tiles, the earliest attempt of each tile is kept as well, ``[tile][time, row][lane]``.

*The present* is what scalar code works on (one lane after another): where each guest is now. A few int32 for each
pCPU and lock, the records (int64) of host, pCPUs, vCPUs, VMs and locks, and two int64 for each pCPU, which say what
comes next on it (`ORDER_BITS`).

Times in records and keys are absolute; all others are relative to the lane's ``base_ns``.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.jit import ArrayView, RecordView
from fastlhp.model.host import MAX_LOCKS, MAX_PCPUS, MAX_VCPUS
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS

LANES = 64  # at most: a bit of a word for each
STRIDE = LANES + 8
"""int32 from a row (or lane value, or lock value) to the next: a little more than there are lanes, so that the rows
of a lane do not all fall into the same few sets of the cache."""
TILE = 4

# Fields of a row of the course.
NEXT, COURSE = range(2)
ROW_FIELDS = 2
"""
NEXT    when the vCPU next attempts its lock; NEVER if it does not before the hypervisor intervenes
COURSE  which vCPU, and the cycle of that attempt, as in POSITION
"""
FIELD_SIZE = TILE * STRIDE
TILE_SIZE = ROW_FIELDS * FIELD_SIZE
EARLIEST_SIZE = 2 * STRIDE
"""int32 from the earliest attempt of a tile, which is its time and its row, to that of the next tile."""
BY_TILES = 4
"""Up to so many tiles of rows are read and written tile by tile; more by index. Measured."""

# What the present has of each pCPU that runs a guest.
POSITION, GUEST_PHASE, BEGIN, LONGEST, RECORD, RECORD_BEGIN = range(6)
PRESENT_FIELDS = 8  # a power of two
"""
POSITION  who runs, in which cycle, with which lock: see below
GUEST_PHASE the guest phase, NOBODY if no guest runs
BEGIN     of a waiter, on the course: when it gets its lock; NEVER if it does not before the hypervisor intervenes
LONGEST   the longest wait of the VM known here, FAR at most
RECORD    a longer one, if not 0, that is over at RECORD_BEGIN if no hypervisor intervenes
"""

NEVER = 2**31 - 1
FAR = 2**29
"""Times and durations from it on are left to scalar code: a sum of three others is still an int32."""

# POSITION. Its low bits index the lane's draws: the hold time of the cycle and the user time after it.
SLOTS = 32  # cycles for which a vCPU has draws
HALF = SLOTS // 2  # they are drawn by halves: one is in use while the other is drawn
SLOT_MASK = SLOTS - 1
DRAWS_PER_VCPU = 2 * SLOTS
VCPU_SHIFT = 5
CYCLE_OF_VCPU_MASK = MAX_VCPUS * SLOTS - 1
LOCK_SHIFT = 17
LOCK_MASK = MAX_LOCKS - 1
HALT_BIT = 1 << 29  # HLT after this cycle
CHOICE_MASK = (LOCK_MASK << LOCK_SHIFT) | HALT_BIT  # what the choices of the cycle decide

# What comes next in a lane: of each pCPU, and of the host. An event is one number, its key: the time, and in the low
# bits what happens then, in the order of events at one instant. So the next event is the one with the smallest key.
EDGE, GUESTS = 0, 1  # the guest phase on pCPU p ends: GUESTS + p
SLOT_END = GUESTS + MAX_PCPUS
TIMERS = SLOT_END + 1  # of pCPU p: TIMERS + 2 p, and its waiter's threshold: TIMERS + 2 p + 1
WAKE = TIMERS + 2 * MAX_PCPUS
ORDER_BITS = WAKE.bit_length()
ORDER_MASK = (1 << ORDER_BITS) - 1
LATEST = 2 ** (63 - ORDER_BITS) - 1  # that is, never

# Guest phases.
NOBODY = -1
USER, KERNEL, HOLDING, WAITING, HANDOVER = range(5)
# Why the end of the phase is for scalar code (PCPU.trap).
TRAP_NONE, TRAP_EXTENDED_HOLD, TRAP_EXTENDED_KERNEL = range(3)

# Lane values: a parameter of the lane, then its next attempt.
DEADLINE, NOW, ROW, POS, HOLD, REST, CHOSEN, FREE = range(8)
LANE_FIELDS = 8
LANES_SIZE = LANE_FIELDS * STRIDE
"""
DEADLINE      last instant up to which the course holds; -1 if there is none
NOW ROW POS   time, row and COURSE of the attempt
HOLD REST     how long the vCPU then holds the lock, and what passes until its next attempt
CHOSEN        lock and HLT of its next cycle, as in POSITION
FREE          from when on the lock is free

Where the course of a lane is divided (`course.start_tiles`), each of its tiles has lane values of its own, which come
after those of the undivided lanes.
"""

# Lock words.
TICKETS = 64  # tickets are modulo this; bits 0-5: ticket to be served next
WORD_FORESEEABLE = 1 << 6  # while nobody intervenes, the order of attempts says who gets it next
WORD_UNFAIR = 1 << 7  # waiters that stop running do not count as waiting (test_and_set)
WORD_LINE = 1 << 8  # its waiters have numbers (`line.py`), not places in a ring
COUNT_SHIFT = 10
COUNT_UNIT = 1 << COUNT_SHIFT  # bits 10-19: the holder and those that wait
COUNTS = 1024
WORD_SCALAR = 1 << 20  # every attempt and release is for scalar code

# pCPU modes and vCPU states.
IDLE, SWITCHING, RUNNING, EXITING = range(4)
READY, HALTED, SERVING, COSTOPPED = 4, 5, 6, 7  # states of a vCPU beside SWITCHING, RUNNING, EXITING
N_STATES = 8

# Guards' extension of a slice (PCPU.extended).
NOT_EXTENDED, EXTENDED, WAS_EXTENDED = range(3)

# What follows an exit (PCPU.action).
(
    AFTER_KICK,
    AFTER_YIELD,
    AFTER_HALT,
    AFTER_HLT,
    AFTER_GUARD_YIELD,
    AFTER_GIVING_WAY,
    AFTER_NOTIFY,
    AFTER_SERVICE,
) = range(8)

# What a waiter does whose lock has a threshold of its own, once it is reached.
SPIN_ON, BLOCK, GIVE_WAY = range(3)

# Where a waiter is (VCPU.outside): in the ring of its lock's queue; not in it; not, and not to be put off any more.
IN_RING, OUTSIDE, INSISTING = range(3)

# What a guard does when a vCPU leaves HOLDING in an extension: nothing; let the guest yield by hypercall; preempt it,
# because its mode says that it is safe; let it serve an interrupt first.
LETS_RUN, LETS_YIELD, PREEMPTS, INTERRUPTS = range(4)

FOREVER = 2**62
REBASE_NS = 2**28
LONGEST_NS = 2**30

N_PURPOSES = 19
(
    CYCLE,
    CHOICE,
    HALT,
    SLICE,
    PHASE,
    ORDER,
    PLACEMENT,
    THRESHOLD_DRAW,
    EXTENSION,
    WAKEUP,
    GRANT,
    KICK,
    TARGET,
    HANDOVER_DRAW,
    SWITCH,
    EXIT,
    PATIENCE,
    CHECK,
    INTERRUPT,
) = range(N_PURPOSES)
HOST_OWNER = 0xFFFFFFFF

# Errors that compiled code leaves in HOST.error; Python turns them into exceptions.
OK, BROKEN_ACCOUNTS, BROKEN_STATE = range(3)

_i8 = np.int64
LINE = 64


def _record(names: str) -> np.dtype[np.void]:
    """Record of int64 fields that takes whole cache lines; fields that are used together stand together."""
    fields = names.split()
    size = -(-8 * len(fields) // LINE) * LINE
    return np.dtype({"names": fields, "formats": [_i8] * len(fields), "itemsize": size})


DISTRIBUTION = np.dtype([("kind", _i8), ("value", _i8), ("mean", np.float64), ("segments", _i8)])
CONSTANT, EXPONENTIAL, TABLE = range(3)

CONFIG = np.dtype(
    [
        (name, _i8)
        for name in (
            "n_pcpu n_vcpu n_vm n_lock scheduler guard response scheduler_parameters guard_parameters "
            "response_parameters overlay_parameters vms context_switch vm_exit threshold threshold_ns threshold_max "
            "weighted window_start window_end loses_patience gives_way has_line divisible own_queues exchanges short_ns"
        ).split()
    ]
)
"""Parameters of one configuration; names that are not numbers are addresses of records or distributions.

``overlay_parameters`` are a scheduler's own where ``scheduler_parameters`` are those of the one it builds on;
``context_switch`` and ``vm_exit`` are 0 if they take no time; ``threshold`` is never reached if only locks have
thresholds; ``threshold_ns`` is its length, -1 if that is drawn; ``loses_patience`` says that some locks have
thresholds of their own, ``gives_way`` that some are not always tried for, ``has_line`` that some have a line
(`line.py`) and are foreseeable, ``divisible`` that nothing but the clock brings the hypervisor in, ``own_queues``
that each pCPU has a queue of its own, ``exchanges`` that two vCPUs may change places at once (`dispatch.exchange`);
``short_ns`` is a time in which guests do so little that their course is not worth the trouble (`stretches.py`)."""

VM_CONFIG = np.dtype(
    [
        (name, _i8)
        for name in (
            "first_vcpu n_vcpu first_lock n_lock lock_kind user kernel hold handover has_kernel has_handover "
            "handover_grows has_halt halt_below halt_time has_choice lock_bounds lock_word lock_parameters wakeup "
            "patience quick_ns"
        ).split()
    ]
    + [("weight", np.float64)]
)
"""``patience``: the lock's own threshold if it is always the same, else 0; ``quick_ns``: in waits up to that length
nothing happens but waiting; -1 if that is not known."""

ITEM = np.dtype(
    [(name, _i8) for name in "config replication n_part part vm_out host_out histogram done".split()]
)
"""One replication to simulate: its configuration, how many parts its window has and which of them comes next or is
being measured, and where results go: counters of each part, one after the other."""

BLOCK_STATE = _record(
    "hosts rows lanes locks draws choices items n_tiles n_lock_tiles lane_bytes in_use has_choices scalar_only zero "
    "next_item n_items n_running n_divided n_steps"
)
"""What a block (`block.py`) and its kernel share: addresses; tiles of rows and of locks; bytes from a lane's draws to
the next one's; lanes in use; whether there are choices, and whether scalar code does everything; a 0 that LLVM cannot
know (`passes.py`). next_item, n_items: items that lanes have started, and all that there were, both since the block was
made; n_running: lanes that simulate; n_divided: lanes whose course is divided; n_steps: done so far."""

HOST = _record(
    "lanes present waits guests thresholds timers base_ns measuring histogram streams draws "
    "choices variates newcomers rows free locks pcpus vcpus vms lock_records queues waiters spent scratch "
    "config config_vms item n_row n_pcpu n_vcpu n_vm n_lock seed_low seed_high replication done_until "
    "next_key other_key horizon first_tile n_tile short_ns edge n_idle n_ready settled_until fragmentation_ns idle_ns "
    "next_wake n_switches n_reported now course_began scalar_events divisible divided n_on_course "
    "slot slot_end n_slot n_slot_draw tick_at costarting error"
)
"""What one lane simulates. Among the first are addresses of the lane's part of the course (rows, lanes, free), of the
present (``present`` of the pCPUs, ``waits`` on them, ``guests``, ``thresholds`` and ``timers`` the keys of what comes
next on each, ``locks`` the lock words), of draws and choices, and of its records; ``waiters`` has TICKETS int16 a lock
(`rows.py`); ``spent`` has N_STATES int64 a VM: its vCPUs' time in each state that is not yet in its counters;
``scratch`` has room for two int64 a vCPU and two a pCPU; ``variates`` (`draws.py`) and ``newcomers`` (room for the
pCPUs) are shared by the block.

done_until: all events of guests up to it are done; next_key: the next event, as `control.py` has found it; other_key:
the next one that is not a guest's; horizon: scalar code goes up to it and not beyond; first_tile, n_tile: the tiles of
pCPUs that scalar code sees to, and short_ns: a time in which guests do too little there for a course; edge: the next
edge of the measured window or of its parts; settled_until: how far idle time, fragmentation and priority inversion are
integrated; n_reported: events of the parts that are over; now: the instant of the event that scalar code handles;
course_began: when the course began; scalar_events: how many events scalar code handles before it begins the next;
divisible, divided: whether courses can be divided, and whether this one is; n_on_course: how many of its tiles still
follow theirs; slot_end: the next event of the scheduler that is not a single pCPU's; tick_at, costarting: see
`relaxed_coscheduling`.
"""

PCPU = _record(
    "mode vcpu last slice_began slice_end extension_end extended watching service_end "
    "trap action halt_pending guard_pending floor tickled"
)
"""extended: of the slice, NOT_EXTENDED, EXTENDED or WAS_EXTENDED; watching: 1 if the extension ends when the guest's
mode says that it is safe; trap: why the end of the guest's phase is for scalar code; action: what follows the exit;
*_pending: what follows a release's kick. While a guest serves an interrupt, its pCPU is EXITING;
slice_began: from when the slice's length counts, FOREVER if its end stands whatever its length; floor: see `fair`;
tickled: see `credit`."""

WAITS = np.dtype([("ns", _i8), *((name, np.int32) for name in "count looked_at attempt begin".split())])
"""Waits of the vCPU that runs on a pCPU, as `course.note_wait` keeps them: those of a lane are in a few cache lines.
ns, count: length and number of those not yet booked to the VM; looked_at: longer ones are looked at more closely;
attempt, begin: of the last one in this course, when it began and when the lock is got; begin is NEVER if it is not
before the hypervisor intervenes, and -1 if there was none."""

QUEUE = np.dtype([(name, _i8) for name in "head tail length".split()])

VCPU = _record(
    "vm state phase residual position lock runs_on longest looked_at "
    "attempt handover off_since rest_ns debt_ns inherited_ns patience_at "
    "patience_ns outside window spin_loop preempted lhp_cycle next previous "
    "home index wake_at blocked matrix_row queue yielded last_boosted marked "
    "charged_at queued_at vruntime rate latency_ns granularity_ns credit_ns rank has_run "
    "running_since skew_ns stopping lagging vm_stopped_at "
    "n_slice n_threshold n_extension n_wakeup n_target n_handover n_switch n_exit n_interrupt threshold_at "
    "beyond_ns timeout_ns number asleep pending n_patience n_check"
)
"""home: the pCPU it is pinned to, -1 if it may run anywhere; matrix_row: its slot under `gang`; runs_on: the pCPU on
which it runs, or ran last; longest, looked_at: of its VM (see LONGEST and WAITS); phase .. lock, attempt, handover:
the guest's state while off CPU; preempted: 1 if that is why it does not run; spin_loop: see `directed_yield`; window:
what its spin threshold has grown by; last_boosted, marked: of a VM, kept with its first vCPU: the index of the vCPU
boosted last, and whether one has told of a long spin.

Of schedulers: queue: the run queue of one that may run anywhere; yielded: whether it is being queued of its own will;
charged_at: up to where it has paid for its running, FOREVER while it does not run; queued_at .. granularity_ns: see
`fair`; credit_ns .. running_since: see `credit`;
skew_ns .. vm_stopped_at: see `relaxed_coscheduling`.

Of waiters whose lock has thresholds of its own (of the others patience_at is FOREVER): threshold_at: end of the
response's threshold; patience_at: end of the lock's, of the running waiter; patience_ns: what is left of it, off CPU;
beyond_ns: what of the lock's threshold comes after patience_at; timeout_ns: of `preemptable_ticket`; outside: IN_RING,
OUTSIDE or INSISTING; number: place in the line of a lock without ring (`line.py`), 0 if in none; asleep: blocked, and
has not run since; pending: has spun as the head of the line, and not blocked since."""

STREAM = _record(
    "key counter halves user_ns kernel_ns hold_ns zeros "
    "newer_user_ns newer_kernel_ns newer_hold_ns newer_zeros "
    "older_user_ns older_kernel_ns older_hold_ns older_zeros vm_config"
)
"""Draws of a vCPU: name of its stream, and how many halves have been drawn; sums of the drawn times, and how many are
0: of all, and of those before the newer and before the older of the two halves in memory; and the address of the VM's
configuration, so that drawing needs nothing else."""

VM = np.dtype([(name, _i8) for name in VM_COUNTERS])
"""Counters of one VM; ``spin_ns`` holds all running time until the end, when user, kernel and hold are taken off."""

LOCK_RECORD = _record(
    "vm tile off_owner off_holding n_spinning spun_ns n_grant n_kick n_blocked waiter n_waiting last_number first "
    "serving out_of_order"
)
"""tile: where courses are divided, that of its VM; off_owner: the vCPU that owns the lock but is off CPU, -1 if none;
off_holding: 1 if it is HOLDING; n_spinning: running waiters, as scalar code knows them; spun_ns: their account
(`machine.begin_spin`); waiter: of an unfair lock on the course, the pCPU of its last waiter; n_waiting ..
out_of_order: of locks with a line (`line.py`): waiters of a lock that may be free though it has some, the last number
given, the first in line (-1: nobody), and of `preemptable_ticket` the number being served and whether the lock went
out of order."""

_FIXED_IN_HOST = (
    "present waits guests thresholds timers streams draws choices variates newcomers rows free locks pcpus vcpus vms "
    "lock_records queues waiters spent scratch n_row"
)
"""What is set when a block is made; ``lanes`` is not among it, for a tile has lane values of its own."""

block_at = RecordView("block", BLOCK_STATE)
host_at = RecordView("host", HOST, fixed=_FIXED_IN_HOST.split())
pcpu_at = RecordView("pcpu", PCPU)
vcpu_at = RecordView("vcpu", VCPU)
stream_at = RecordView("stream", STREAM)
vm_at = RecordView("vm", VM)
lock_at = RecordView("lock", LOCK_RECORD)
queue_at = RecordView("queue", QUEUE)
waits_at = RecordView("waits", WAITS)
config_at = RecordView("config", CONFIG, fixed=CONFIG.fields or ())
vm_config_at = RecordView("vm_config", VM_CONFIG, fixed=VM_CONFIG.fields or ())
item_at = RecordView("item", ITEM)
distribution_at = RecordView("distribution", DISTRIBUTION, fixed=DISTRIBUTION.fields or ())
int16_at = RecordView("int16", np.dtype([("value", np.int16)]))
int32_at = RecordView("int32", np.dtype([("value", np.int32)]))
float64_at = RecordView("float64", np.dtype([("value", np.float64)]))
int64_at = RecordView("int64", np.dtype([("value", np.int64)]))
float32_at = RecordView("float32", np.dtype([("value", np.float32)]))
int32_array = ArrayView(np.int32)
int64_array = ArrayView(np.int64)

N_VM_COUNTERS = len(VM_COUNTERS)
N_HOST_COUNTERS = len(HOST_COUNTERS)
