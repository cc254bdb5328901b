"""Scalar access to what the vector passes work on: rows, lock words, draws, and the queues of locks.

Every function works on one lane, given as its `HOST` record; p is a pCPU, v a vCPU, g a lock. Times are absolute ns.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.state import (
    COUNT_UNIT,
    COUNTS,
    DRAW_MASK,
    DRAWS_PER_VCPU,
    ENTRY_MASK,
    FIELD_SIZE,
    FOREVER,
    HANDOVER,
    HOLDING,
    IN_KERNEL,
    KERNEL,
    LOCK_MASK,
    LOCK_SHIFT,
    MODE_SHIFT,
    NEVER,
    PLAIN,
    POSITION,
    SLOTS,
    SPINNING,
    STRIDE,
    TICKETS,
    TILE_SIZE,
    TRAP_EXTENDED_KERNEL,
    TRAP_HANDOVER,
    UNTIL,
    USER,
    VCPU_SHIFT,
    WAITING,
    int16_at,
    int32_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)

_WITHOUT_MODE = (1 << MODE_SHIFT) - 1


# Rows


@device
def get(host, field, p):
    """Value of a field of pCPU p's row."""
    at = (p >> 2) * TILE_SIZE + field * FIELD_SIZE + (p & 3) * STRIDE
    return np.int64(int32_at(host.rows, at).value)


@device
def put(host, field, p, value):
    """Set a field of pCPU p's row."""
    at = (p >> 2) * TILE_SIZE + field * FIELD_SIZE + (p & 3) * STRIDE
    int32_at(host.rows, at).value = np.int32(value)


@device
def put_until(host, p, t):
    """Set the end of the phase of row p."""
    if t >= FOREVER:
        put(host, UNTIL, p, NEVER)
    else:
        put(host, UNTIL, p, t - host.base_ns)


@device
def get_until(host, p):
    """End of the phase of row p; FOREVER if it has none."""
    until = get(host, UNTIL, p)
    return FOREVER if until == NEVER else host.base_ns + until


@device
def slot_of(host, p):
    """The cycle of its buffer in which the vCPU on p is."""
    return (get(host, POSITION, p) & ENTRY_MASK) >> 1


@device
def lock_on(host, p):
    """The lock of the cycle in which the vCPU on p is."""
    return (get(host, POSITION, p) >> LOCK_SHIFT) & LOCK_MASK


@device
def phase_of(host, p):
    """Guest phase of the vCPU that runs on p."""
    position = get(host, POSITION, p)
    mode = position >> MODE_SHIFT
    if mode == PLAIN:
        return np.int64(HOLDING) if position & 1 != 0 else np.int64(USER)
    if mode == SPINNING:
        return np.int64(WAITING)
    if mode == IN_KERNEL:
        return np.int64(KERNEL)
    trap = pcpu_at(host.pcpus, p).trap
    if trap == TRAP_HANDOVER:
        return np.int64(HANDOVER)
    if trap == TRAP_EXTENDED_KERNEL:
        return np.int64(KERNEL)
    return np.int64(HOLDING)


@device
def put_mode(host, p, mode, has_attempted):
    """Change the mode of row p; ``has_attempted``: 0 before the attempt of its cycle, 1 from then on."""
    position = get(host, POSITION, p) & (_WITHOUT_MODE - 1)
    put(host, POSITION, p, (mode << MODE_SHIFT) | position | has_attempted)


@device
def put_position(host, p, v, slot, mode, has_attempted):
    """Let row p stand for vCPU v in the cycle in ``slot``."""
    position = (v << VCPU_SHIFT) | (2 * slot) | has_attempted | cycle_bits(host, v, slot)
    put(host, POSITION, p, (mode << MODE_SHIFT) | position)


@device
def is_spinning(host, p):
    """Whether the vCPU on p waits for a lock that it has not been granted."""
    return get(host, POSITION, p) >> MODE_SHIFT == SPINNING


@device
def spins_on(host, p, g):
    """Whether the vCPU on p waits for lock g and has not been granted it."""
    position = get(host, POSITION, p)
    return position >> MODE_SHIFT == SPINNING and (position >> LOCK_SHIFT) & LOCK_MASK == g


@device
def rivals_of(host, g):
    """Number of running waiters of lock g that have not been granted it."""
    n = 0
    for p in range(host.n_pcpu):
        n += np.int64(spins_on(host, p, g))
    return n


# Draws


@device
def user_drawn(host, v, slot):
    """User time of the cycle in ``slot``."""
    return np.int64(int32_at(host.draws, v * DRAWS_PER_VCPU + 2 * slot).value)


@device
def hold_drawn(host, v, slot):
    """Hold time of the cycle in ``slot``."""
    return np.int64(int32_at(host.draws, v * DRAWS_PER_VCPU + 2 * slot + 1).value)


@device
def kernel_drawn(host, v, slot):
    """Kernel time of the cycle in ``slot``, of a VM that has kernel phases."""
    return np.int64(int32_at(host.choices, v * DRAWS_PER_VCPU + slot).value)


@device
def hold_drawn_on(host, p):
    """Hold time of the cycle of row p, from the attempt on."""
    return np.int64(int32_at(host.draws, get(host, POSITION, p) & DRAW_MASK).value)


@device
def cycle_bits(host, v, slot):
    """Lock and HLT of the cycle in ``slot``, as they stand in POSITION."""
    vm_config = vm_config_at(host.config_vms, vcpu_at(host.vcpus, v).vm)
    if vm_config.has_choice == 0:
        return vm_config.first_lock << LOCK_SHIFT
    return np.int64(int32_at(host.choices, v * DRAWS_PER_VCPU + SLOTS + slot).value)


# Locks


@device
def get_word(host, g):
    """Lock word of lock g."""
    return np.int64(int32_at(host.locks, g * STRIDE).value)


@device
def put_word(host, g, word):
    """Set the lock word of lock g."""
    int32_at(host.locks, g * STRIDE).value = np.int32(word)


@device
def count_of(host, g):
    """The holder of lock g and those that wait for it (of an unfair lock: that are spinning)."""
    return (get_word(host, g) // COUNT_UNIT) % COUNTS


# The queue of a lock is a ring of TICKETS places. In that of a ticket stands who has it: the pCPU p on which a vCPU
# spins, or ~v for a vCPU v that is off CPU.


@device
def _place(host, g, ticket):
    return int16_at(host.waiters, g * TICKETS + ticket % TICKETS)


@device
def enqueue(host, g, p):
    """The vCPU that starts to spin on p is the last of those that lock g counts."""
    _place(host, g, get_word(host, g) + count_of(host, g) - 2).value = np.int16(p)


@device
def dequeue(host, g):
    """Take the longest waiter out of the queue of lock g: its pCPU, or ~v if it is off CPU."""
    word = get_word(host, g)
    put_word(host, g, word - word % TICKETS + (word + 1) % TICKETS)
    return np.int64(_place(host, g, word).value)


@device
def leave_queue_running(host, g, p, v):
    """The waiter v of lock g stops running on p; it keeps its place."""
    ticket = get_word(host, g)
    while _place(host, g, ticket).value != p:
        ticket += 1
    _place(host, g, ticket).value = np.int16(~v)
    vcpu_at(host.vcpus, v).ticket = ticket % TICKETS


@device
def return_to_queue(host, g, p, v):
    """The waiter v of lock g, which has not been granted it, runs again, on p."""
    _place(host, g, vcpu_at(host.vcpus, v).ticket).value = np.int16(p)
