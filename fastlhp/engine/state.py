"""The one definition of the engine's state.

Two kinds of memory, for the two halves of the engine:

*Rows* (int32, lanes last) are what the vector passes work on. Each running vCPU of a lane is a row, one row
for each pCPU, in tiles of `TILE` rows: ``rows[tile][field][row in tile][lane]``. Lock words and lane values
are arrays ``[value][lane]``, lock words in tiles as well. Times in rows are relative to the lane's ``base_ns``.

*Records* (int64, one lane after another) are what the scalar code works on: host, pCPUs, vCPUs, VMs, locks.
Times in records are absolute.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.jit import ArrayView, RecordView
from fastlhp.model.host import MAX_LOCKS, MAX_VCPUS
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS

LANES = 64  # a multiple of 64; the state of this many lanes stays in the second-level cache
STRIDE = LANES + 8
"""int32 from a row (or lane value, or lock word) to the next: a little more than there are lanes, so that the rows
of a lane do not all fall into the same few sets of the cache."""
TILE = 4

# Fields of a row.
UNTIL, POSITION, ATTEMPT = range(3)
ROW_FIELDS = 3
"""
UNTIL     end of the guest phase; of a waiter the end of its spin threshold; NEVER if none
POSITION  who runs, in which phase of which cycle, with which lock: see below
ATTEMPT   when a waiter made its attempt; SEE_RECORD if the vCPU's record has it
"""
FIELD_SIZE = TILE * STRIDE
TILE_SIZE = ROW_FIELDS * FIELD_SIZE

NEVER = 2**31 - 1
SEE_RECORD = -(2**31)

# POSITION. Its low bits index the lane's buffer of draws: user and hold time of each cycle, one after the other.
SLOTS = 16  # cycles of a vCPU's buffer
DRAWS_PER_VCPU = 2 * SLOTS
ENTRY_MASK = DRAWS_PER_VCPU - 1  # 2 * slot, plus 1 from the attempt on
VCPU_SHIFT = 5
DRAW_MASK = MAX_VCPUS * DRAWS_PER_VCPU - 1
LOCK_SHIFT = 17
LOCK_MASK = MAX_LOCKS - 1
HALT_BIT = 1 << 29  # HLT after this cycle
CYCLE_MASK = (LOCK_MASK << LOCK_SHIFT) | HALT_BIT  # what the choices of the cycle decide
MODE_SHIFT = 30
# Modes: an ordinary end of USER or HOLDING; end of KERNEL; spinning; something else that only scalar code ends.
PLAIN, IN_KERNEL, SPINNING, TRAPPED = 0, 1, -2, -1

# Guest phases.
USER, KERNEL, HOLDING, WAITING, HANDOVER = range(5)
# What a TRAPPED row is about (PCPU.trap).
TRAP_NONE, TRAP_HANDOVER, TRAP_EXTENDED_HOLD, TRAP_EXTENDED_KERNEL = range(4)

# A VM with kernel phases, several locks or HLT has a second buffer for each vCPU: a kernel time for each cycle,
# then for each cycle its bits of POSITION (CYCLE_MASK).
NO_KERNEL = -1  # kernel time of a VM without that phase

# Lane values: parameters of the lane, then what one pass leaves to the next.
DEADLINE, THRESHOLD = range(2)
NOW, ROW, POS, LOCK, WORD, DRAW, CHOSEN = range(2, 9)
NEW_UNTIL, NEW_POS, NEW_WORD, TARGET_ROW, TARGET_LOCK, CODE = range(9, 15)
LANE_FIELDS = 15
"""
DEADLINE   last instant up to which the guests of the lane may go on by themselves; -1 if the lane is at rest
THRESHOLD  constant spin threshold in ns, -1 for none
NOW ROW POS   time, row and POSITION of the lane's next guest event
LOCK WORD  the lock concerned and its word
DRAW CHOSEN   the drawn duration that the event needs, and what the second buffer says
NEW_*      what the event's row and lock word become
TARGET_*   the row and lock to change; those of nobody where the passes change nothing
CODE       what scalar code has to do about the lane after the passes: bits of NEEDS_*
"""

NEEDS_QUEUE = 1  # the event's vCPU starts to spin: note its attempt and its place in the queue
NEEDS_GRANT = 2  # the event released a lock that others wait for
NEEDS_STEP = 4  # the event is not the guest's: one step of the scalar code
NEEDS_DRAWS = 8  # the vCPU entered the last cycle of its buffer
NEEDS_EVENT = 16  # the guest's event is not for the passes

# Lock words.
TICKETS = 64  # tickets are modulo this; bits 0-5: ticket to be served next
WORD_QUEUED = 1 << 6  # the passes may let vCPUs queue, and release to those that do
WORD_UNFAIR = 1 << 7  # waiters that stop running do not count as waiting (test_and_set)
COUNT_UNIT = 1 << 10  # bits 10-19: the holder and those that wait
COUNTS = 1024
WORD_SCALAR = 1 << 20  # every attempt and release is for scalar code

# pCPU modes and vCPU states.
IDLE, SWITCHING, RUNNING, EXITING = range(4)
READY, HALTED, SERVING, COSTOPPED = 4, 5, 6, 7  # states of a vCPU beside SWITCHING, RUNNING, EXITING

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
REBASE_NS = 2**29
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

DISTRIBUTION = np.dtype([("kind", _i8), ("value", _i8), ("mean", np.float64), ("segments", _i8)])
CONSTANT, EXPONENTIAL, TABLE = range(3)

CONFIG = np.dtype(
    [
        (name, _i8)
        for name in (
            "n_pcpu n_vcpu n_vm n_lock scheduler guard response scheduler_parameters guard_parameters "
            "response_parameters overlay_parameters vms context_switch vm_exit threshold threshold_max weighted "
            "window_start window_end"
        ).split()
    ]
)
"""Parameters of one configuration; names that are not numbers are addresses of records or distributions.

``overlay_parameters`` are a scheduler's own where ``scheduler_parameters`` are those of the one it builds on."""

VM_CONFIG = np.dtype(
    [
        (name, _i8)
        for name in (
            "first_vcpu n_vcpu first_lock n_lock lock_kind user kernel hold handover has_kernel has_handover "
            "handover_grows has_halt halt_below halt_time has_choice lock_bounds lock_word lock_parameters wakeup"
        ).split()
    ]
    + [("weight", np.float64)]
)

ITEM = np.dtype([(name, _i8) for name in "config replication vm_out host_out histogram done".split()])
"""One replication to simulate: its configuration, and where its results go."""

HOST = np.dtype(
    [
        (name, _i8)
        for name in (
            "rows lanes locks draws choices pcpus vcpus vms lock_records queues waiters scratch words slots config "
            "config_vms item n_row n_pcpu n_vcpu n_vm n_lock seed_low seed_high replication base_ns edge measuring "
            "histogram n_idle n_ready settled_until fragmentation_ns idle_ns next_wake n_switches "
            "now slot slot_end n_slot n_slot_draw tick_at costarting error"
        ).split()
    ]
)
"""What one lane simulates. The first names are addresses of the lane's part of rows, lanes, locks, draws, choices,
and of its records; ``waiters`` has TICKETS int16 a lock (`rows.py`); ``scratch`` has room for two int64 a vCPU and
two a pCPU; ``edge`` is the next edge of the measured window; ``settled_until`` is how far idle time, fragmentation
and priority inversion are integrated; ``now`` is the instant of the event that scalar code handles; ``slot_end`` the
next event of the scheduler that is not a single pCPU's; ``tick_at``, ``costarting``: see `relaxed_coscheduling`."""

PCPU = np.dtype(
    [
        (name, _i8)
        for name in (
            "mode vcpu last timer slice_began slice_end extension_end extended watching watched_lock service_end "
            "trap action halt_pending guard_pending floor tickled"
        ).split()
    ]
)
"""timer: next event of the pCPU itself (end of switch, exit, slice or extension), FOREVER if none; extended: of the
slice, NOT_EXTENDED, EXTENDED or WAS_EXTENDED; watching: 1 if the extension ends when the guest's mode says that it is
safe; watched_lock: the lock whose grant is kept from the passes for that, -1 if none; action: what follows the exit;
*_pending: what follows a release's kick. While a guest serves an interrupt, its pCPU is EXITING;
slice_began: from when the slice's length counts, FOREVER if its end stands whatever its length; floor: see `fair`;
tickled: see `credit`."""

QUEUE = np.dtype([(name, _i8) for name in "head tail length".split()])

VCPU = np.dtype(
    [
        (name, _i8)
        for name in (
            "vm index home next previous state since phase residual slot lock ticket attempt handover spin_since "
            "first_cycle user_ns kernel_ns hold_ns zero_phases buffer_user_ns buffer_kernel_ns buffer_hold_ns "
            "buffer_zero_phases stream_key stream_counter lhp_cycle off_since "
            "rest_ns debt_ns inherited_ns wake_at blocked matrix_row preempted spin_loop window last_boosted marked "
            "queue yielded charged_at queued_at vruntime rate latency_ns granularity_ns credit_ns rank has_run "
            "running_since skew_ns stopping lagging vm_stopped_at "
            "n_slice n_threshold n_extension n_wakeup n_target n_handover n_switch n_exit n_interrupt threshold_at "
            "patience_at patience_ns beyond_ns timeout_ns outside number asleep pending n_patience n_check"
        ).split()
    ]
)
"""home: the pCPU it is pinned to, -1 if it may run anywhere; matrix_row: its slot under `gang`; phase .. handover:
the guest's state while off CPU; user_ns .. zero_phases: sums over the cycles before the buffer; buffer_*: sums over the
buffer but for its last cycle; spin_since: up to where spinning is booked; preempted: 1 if that is why it does not run;
spin_loop: see `directed_yield`; window: what its spin threshold has grown by; last_boosted, marked: of a VM, kept with
its first vCPU: the index of the vCPU boosted last, and whether one has told of a long spin.

Of schedulers: queue: the run queue of one that may run anywhere; yielded: whether it is being queued of its own will;
charged_at: up to where it has paid for its running, FOREVER while it does not run; queued_at .. granularity_ns: see
`fair`; credit_ns .. running_since: see `credit`;
skew_ns .. vm_stopped_at: see `relaxed_coscheduling`.

Of waiters whose lock has thresholds of its own (of the others patience_at is FOREVER): threshold_at: end of the
response's threshold; patience_at: end of the lock's, of the running waiter; patience_ns: what is left of it, off CPU;
beyond_ns: what of the lock's threshold comes after patience_at; timeout_ns: of `preemptable_ticket`; outside: IN_RING,
OUTSIDE or INSISTING; number: place in the line of a lock without ring (`line.py`), 0 if in none; asleep: blocked, and
has not run since; pending: has spun as the head of the line, and not blocked since."""

VM = np.dtype([(name, _i8) for name in VM_COUNTERS])
"""Counters of one VM; ``spin_ns`` holds all running time until the end, when user, kernel and hold are taken off."""

LOCK_RECORD = np.dtype(
    [
        (name, _i8)
        for name in (
            "vm off_owner off_holding n_grant n_kick n_blocked n_watching withheld contended wait_ns wait_max_ns "
            "n_waiting last_number serving out_of_order"
        ).split()
    ]
)
"""off_owner: the vCPU that owns the lock but is off CPU, -1 if none; off_holding: 1 if it is HOLDING; n_watching: the
pCPUs that watch it (see `PCPU`); withheld: the bit of its word that the passes do not see meanwhile; contended,
wait_ns, wait_max_ns: the lock's part of its VM's counters; n_waiting .. out_of_order: of locks with a line (`line.py`):
waiters of a lock that may be free though it has some, the last number given, and of `preemptable_ticket` the number
being served and whether the lock went out of order."""

host_at = RecordView(HOST)
pcpu_at = RecordView(PCPU)
vcpu_at = RecordView(VCPU)
vm_at = RecordView(VM)
lock_at = RecordView(LOCK_RECORD)
queue_at = RecordView(QUEUE)
config_at = RecordView(CONFIG)
vm_config_at = RecordView(VM_CONFIG)
item_at = RecordView(ITEM)
distribution_at = RecordView(DISTRIBUTION)
int16_at = RecordView(np.dtype([("value", np.int16)]))
int32_at = RecordView(np.dtype([("value", np.int32)]))
float64_at = RecordView(np.dtype([("value", np.float64)]))
int64_at = RecordView(np.dtype([("value", np.int64)]))
float32_at = RecordView(np.dtype([("value", np.float32)]))
int32_array = ArrayView(np.int32)
int64_array = ArrayView(np.int64)
float32_array = ArrayView(np.float32)

N_VM_COUNTERS = len(VM_COUNTERS)
N_HOST_COUNTERS = len(HOST_COUNTERS)
