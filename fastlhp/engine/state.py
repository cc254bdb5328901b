"""The one definition of the engine's state.

Two kinds of memory, for the two halves of the engine:

*Rows* (int32, lanes last) are what the vector passes work on. Each running vCPU of a lane is a row, one row
for each pCPU, in tiles of `TILE` rows: ``rows[tile][field][row in tile][lane]``. Lock words and lane values
are arrays ``[word][lane]``. Times in rows are relative to the lane's ``base_ns``.

*Records* (int64, one lane after another) are what the scalar code works on: host, pCPUs, vCPUs, VMs, locks.
Times in records are absolute.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.jit import ArrayView, RecordView
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS

LANES = 128
TILE = 4

# Fields of a row.
UNTIL, POSITION, KEY, HOLD, ATTEMPT, LOCK0 = range(6)
ROW_FIELDS = 6
"""
UNTIL     end of the guest phase; of a waiter the end of its spin threshold; NEVER if none
POSITION  vcpu * DRAWS_PER_VCPU + phase * SLOTS + slot: who runs, in which phase, in which cycle of its buffer
KEY       lock * TICKETS + ticket of a waiter that has not been granted the lock, else NO_KEY
HOLD      hold time of the cycle, for a waiter
ATTEMPT   when the attempt was made, for a waiter; SEE_RECORD if the vCPU's record has it
LOCK0     first lock of the vCPU's VM
"""
TILE_SIZE = ROW_FIELDS * TILE * LANES

NEVER = 2**31 - 1
NO_KEY = -1
NO_GRANT = -2
SEE_RECORD = -(2**31)

# Lane values: parameters of the lane, then what one pass leaves to the next.
(
    DEADLINE,
    THRESHOLD,
    ACTIVE,
    NOW,
    ROW,
    POS,
    FIRST_LOCK,
    LOCK,
    WORK,
    DRAW,
    CODE,
    NEW_UNTIL,
    NEW_POS,
    NEW_KEY,
) = range(14)
GRANT_KEY, GRANT_ROW, MISC, RIVALS = range(14, 18)
LANE_FIELDS = 18
"""
DEADLINE   last instant up to which the guests of the lane may go on by themselves
THRESHOLD  constant spin threshold in ns, -1 for none
ACTIVE     1 while the lane simulates a replication
NOW ROW POS FIRST_LOCK   time, row, POSITION and LOCK0 of the lane's next guest event
LOCK       the lock concerned
WORK       what the event is: one of NOTHING, KERNEL_STARTS, ATTEMPTS, RELEASES
DRAW       the drawn duration that the event needs
CODE       what scalar code has to do about the lane after the passes: bits of NEEDS_*
NEW_*      what the event's row becomes; GRANT_KEY: KEY of the row that is granted the lock; GRANT_ROW: that row
MISC       halt and lock choice of the cycle; RIVALS: running waiters of a test_and_set lock
"""

NOTHING, KERNEL_STARTS, ATTEMPTS, RELEASES = range(4)

NEEDS_STEP = 1  # the event is not for the passes: one step of the scalar code
NEEDS_BOOKING = 2  # a running waiter was granted a lock: book its wait
NEEDS_GRANT = 4  # the lock went to a waiter that is off CPU, or nobody running has that ticket
NEEDS_DRAWS = 8  # the vCPU entered the last cycle of its buffer

# Guest phases, as they stand in POSITION. TRAP: the end of this phase is not for the passes.
USER, KERNEL, HOLDING, TRAP = range(4)
# What a TRAP row that has no KEY is about (PCPU.trap).
TRAP_NONE, TRAP_HANDOVER, TRAP_EXTENDED_HOLD = range(3)
# Phases of a vCPU as scalar code names them: the first three as above.
WAITING, HANDOVER = 3, 4

# Draws of a vCPU are made for SLOTS cycles at a time: SLOTS user times, then kernel times, hold times, and
# words with the choices of the cycle.
SLOTS = 16
DRAWS_PER_VCPU = 4 * SLOTS
MISC_HALT = 64  # bit of a choices word: HLT after this cycle; the bits below are the lock's index
NO_PHASE = -1  # kernel time of a VM without kernel phase

# Lock words.
TICKETS = 1024  # tickets are modulo this; bits 0-9: ticket being served
COUNT_UNIT = 1024  # bits 10-19: holder and waiters (test_and_set: 1 if held)
WORD_UNFAIR = 1 << 20  # test_and_set: waiters are not counted
WORD_SCALAR = 1 << 21  # contended attempts and releases are for scalar code (handover, drawn thresholds)
WORD_TRAP_RELEASE = 1 << 22  # every release is for scalar code (blocked test_and_set waiters)

# pCPU modes and vCPU states.
IDLE, SWITCHING, RUNNING, EXITING = range(4)
READY, HALTED = 4, 5  # states of a vCPU beside SWITCHING, RUNNING, EXITING

# Guards' extension of a slice (PCPU.extended).
NOT_EXTENDED, EXTENDED, WAS_EXTENDED = range(3)

# What follows an exit (PCPU.action).
AFTER_KICK, AFTER_YIELD, AFTER_HALT, AFTER_HLT, AFTER_GUARD_YIELD = range(5)

FOREVER = 2**62
REBASE_NS = 2**29
LONGEST_NS = 2**30

N_PURPOSES = 16
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
            "response_parameters vms context_switch vm_exit threshold weighted window_start window_end"
        ).split()
    ]
)
"""Parameters of one configuration; names that are not numbers are addresses of records or distributions."""

VM_CONFIG = np.dtype(
    [
        (name, _i8)
        for name in (
            "first_vcpu n_vcpu first_lock n_lock lock_kind user kernel hold handover has_kernel has_handover "
            "handover_grows has_halt halt_below halt_time has_choice lock_bounds lock_word wakeup"
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
            "rows lanes locks draws pcpus vcpus vms lock_records queues scratch words config config_vms item "
            "n_row n_pcpu n_vcpu n_vm n_lock seed_low seed_high replication base_ns edge measuring histogram "
            "n_idle n_ready settled_until fragmentation_ns idle_ns next_wake n_switches "
            "slot slot_end n_slot n_slot_draw error"
        ).split()
    ]
)
"""What one lane simulates. The first names are addresses of the lane's part of rows, lanes, locks, draws, and of its
records; ``scratch`` has room for two int64 a vCPU and two a pCPU; ``edge`` is the next edge of the measured window;
``settled_until`` is how far idle time, fragmentation and priority inversion are integrated."""

PCPU = np.dtype(
    [
        (name, _i8)
        for name in (
            "mode vcpu last timer slice_end extension_end extended trap action halt_pending guard_pending"
        ).split()
    ]
)
"""timer: next event of the pCPU itself (end of switch, exit, slice or extension), FOREVER if none; extended: of the
slice, NOT_EXTENDED, EXTENDED or WAS_EXTENDED; action: what follows the exit; *_pending: what follows a release's
kick."""

QUEUE = np.dtype([(name, _i8) for name in "head tail length".split()])

VCPU = np.dtype(
    [
        (name, _i8)
        for name in (
            "vm index home next previous state since phase residual slot key hold attempt handover spin_since "
            "first_cycle user_ns kernel_ns hold_ns zero_phases stream_key stream_counter lhp_cycle off_since "
            "rest_ns debt_ns inherited_ns wake_at blocked matrix_row n_slice n_threshold n_extension n_wakeup n_target "
            "n_handover n_switch n_exit"
        ).split()
    ]
)
"""home: the pCPU it is pinned to, -1 if it may run anywhere; matrix_row: its slot under `gang`; phase .. handover:
the guest's state while off CPU; user_ns .. zero_phases: sums over the cycles before the buffer; spin_since: up to
where spinning is booked."""

VM = np.dtype([(name, _i8) for name in VM_COUNTERS])
"""Counters of one VM; ``spin_ns`` holds all running time until the end, when user, kernel and hold are taken off."""

LOCK_RECORD = np.dtype([(name, _i8) for name in "vm off_owner off_holding n_grant n_kick n_blocked".split()])
"""off_owner: the vCPU that owns the lock but is off CPU, -1 if none; off_holding: 1 if it is HOLDING."""

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
int32_at = RecordView(np.dtype([("value", np.int32)]))
float64_at = RecordView(np.dtype([("value", np.float64)]))
int64_at = RecordView(np.dtype([("value", np.int64)]))
float32_at = RecordView(np.dtype([("value", np.float32)]))
int32_array = ArrayView(np.int32)
int64_array = ArrayView(np.int64)
float32_array = ArrayView(np.float32)

N_VM_COUNTERS = len(VM_COUNTERS)
N_HOST_COUNTERS = len(HOST_COUNTERS)
