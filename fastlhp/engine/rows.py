"""Scalar access to the state of a lane: the present, the course, draws, lock words and the queues of locks.

Every function works on one lane, given as its `HOST` record; p is a pCPU, v a vCPU, g a lock. Times are absolute ns.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.state import (
    BY_TILES,
    CHOICE_MASK,
    COUNT_SHIFT,
    COUNTS,
    CYCLE_OF_VCPU_MASK,
    EARLIEST_SIZE,
    FIELD_SIZE,
    GUEST_PHASE,
    GUESTS,
    HALF,
    LATEST,
    LOCK_MASK,
    LOCK_SHIFT,
    NEVER,
    NEXT,
    ORDER_BITS,
    POSITION,
    PRESENT_FIELDS,
    RUNNING,
    SLOT_MASK,
    SLOTS,
    STRIDE,
    TICKETS,
    TILE,
    TILE_SIZE,
    TIMERS,
    VCPU_SHIFT,
    WAITING,
    int16_at,
    int32_at,
    int64_at,
    pcpu_at,
    stream_at,
    vcpu_at,
    vm_config_at,
)

# The present


@device
def get(host, field, p):
    """Value of a field of the present of pCPU p."""
    return np.int64(int32_at(host.present, p * PRESENT_FIELDS + field).value)


@device
def put(host, field, p, value):
    """Set a field of the present of pCPU p."""
    int32_at(host.present, p * PRESENT_FIELDS + field).value = np.int32(value)


@device
def key_of(t, order):
    """The key of an event: its time, and what happens then."""
    return (min(t, np.int64(LATEST)) << ORDER_BITS) + order


@device
def put_until(host, p, t):
    """Set the end of the phase of the guest on p, which does not wait."""
    int64_at(host.guests, p).value = (t << ORDER_BITS) + (GUESTS + p)
    int64_at(host.thresholds, p).value = LATEST << ORDER_BITS


@device
def put_threshold(host, p, t):
    """Set the end of the spin threshold of the waiter on p; FOREVER if it has none."""
    put_finite_threshold(host, p, min(t, np.int64(LATEST)))


@device
def put_finite_threshold(host, p, t):
    """Set the end of the spin threshold of the waiter on p."""
    int64_at(host.guests, p).value = LATEST << ORDER_BITS
    int64_at(host.thresholds, p).value = (t << ORDER_BITS) + (TIMERS + 1 + 2 * p)


@device
def put_nothing(host, p):
    """The guest on p, if any, does nothing by itself, and no threshold ends."""
    int64_at(host.guests, p).value = LATEST << ORDER_BITS
    int64_at(host.thresholds, p).value = LATEST << ORDER_BITS


@device
def get_until(host, p):
    """End of the phase of the guest on p; LATEST if it has none."""
    return int64_at(host.guests, p).value >> ORDER_BITS


@device
def get_threshold(host, p):
    """End of the spin threshold of the waiter on p; LATEST if it has none."""
    return int64_at(host.thresholds, p).value >> ORDER_BITS


@device
def put_timer(host, p, t):
    """Set the next event of the pCPU p itself: end of a switch, an exit, a slice or an extension; FOREVER if none."""
    int64_at(host.timers, p).value = key_of(t, TIMERS + 2 * p)


@device
def get_timer(host, p):
    """The next event of the pCPU p itself; LATEST if there is none."""
    return int64_at(host.timers, p).value >> ORDER_BITS


@device
def first_pcpu(host):
    """The first pCPU of the tiles that scalar code sees to."""
    return TILE * host.first_tile


@device
def end_pcpu(host):
    """The first pCPU after those of the tiles that scalar code sees to."""
    return min(TILE * (host.first_tile + host.n_tile), host.n_pcpu)


@device
def slot_of(host, p):
    """The cycle, as its place among the draws, in which the vCPU on p is."""
    return get(host, POSITION, p) & SLOT_MASK


@device
def lock_on(host, p):
    """The lock of the cycle in which the vCPU on p is."""
    return (get(host, POSITION, p) >> LOCK_SHIFT) & LOCK_MASK


@device
def phase_of(host, p):
    """Guest phase of the vCPU that runs on p."""
    return get(host, GUEST_PHASE, p)


@device
def vcpu_in(position):
    """The vCPU of a POSITION."""
    return (position & CYCLE_OF_VCPU_MASK) >> VCPU_SHIFT


@device
def position_of(host, v, slot):
    """POSITION of vCPU v in the cycle in ``slot``."""
    return (v << VCPU_SHIFT) | slot | cycle_bits(host, v, slot)


@device
def is_spinning(host, p):
    """Whether the vCPU on p waits for a lock that it has not been granted."""
    return get(host, GUEST_PHASE, p) == WAITING


@device
def spins_on(host, p, g):
    """Whether the vCPU on p waits for lock g and has not been granted it."""
    return (get(host, GUEST_PHASE, p) == WAITING) & (lock_on(host, p) == g)


# The course


@device
def get_course(host, field, p):
    """Value of a field of the course of pCPU p."""
    at = (p >> 2) * TILE_SIZE + field * FIELD_SIZE + (p & 3) * STRIDE
    return np.int64(int32_at(host.rows, at).value)


@device
def put_course(host, field, p, value):
    """Set a field of the course of pCPU p; if that is NEXT, `find_all_earliest` has to follow."""
    at = (p >> 2) * TILE_SIZE + field * FIELD_SIZE + (p & 3) * STRIDE
    int32_at(host.rows, at).value = np.int32(value)


@device
def put_next(host, p, at):
    """Set the next attempt on pCPU p."""
    put_course(host, NEXT, p, at)
    if host.n_row > BY_TILES * TILE:
        find_earliest(host, p >> 2)


@device
def clear_course(host):
    """No attempt is to come on any pCPU."""
    for p in range(host.n_row):
        put_course(host, NEXT, p, NEVER)
    find_all_earliest(host)


@device
def find_all_earliest(host):
    """What `put_next` does beside setting it, for all pCPUs."""
    if host.n_row > BY_TILES * TILE:
        for tile in range(host.n_row // TILE):
            find_earliest(host, tile)


@device
def find_earliest(host, tile):
    """Keep the earliest attempt in a tile."""
    row = tile * TILE
    for other in range(row + 1, row + TILE):
        row = other if get_course(host, NEXT, other) < get_course(host, NEXT, row) else row
    earliest = (host.n_row // TILE + 1) * TILE_SIZE + tile * EARLIEST_SIZE
    int32_at(host.rows, earliest).value = np.int32(get_course(host, NEXT, row))
    int32_at(host.rows, earliest + STRIDE).value = np.int32(row)


@device
def put_free(host, g, since):
    """Set from when on lock g is free, relative to base_ns."""
    int32_at(host.free, g * STRIDE).value = np.int32(since)


# Draws


@device
def user_drawn(host, v, slot):
    """User time of the cycle in ``slot``; it stands with the cycle before."""
    return np.int64(int32_at(host.draws, 2 * (v * SLOTS + ((slot - 1) & SLOT_MASK)) + 1).value)


@device
def hold_drawn(host, v, slot):
    """Hold time of the cycle in ``slot``."""
    return np.int64(int32_at(host.draws, 2 * (v * SLOTS + slot)).value)


@device
def kernel_drawn(host, v, slot):
    """Kernel time of the cycle in ``slot``; 0 if the VM has no kernel phases."""
    if host.choices == 0:
        return np.int64(0)
    if vm_config_at(stream_at(host.streams, v).vm_config, 0).has_kernel == 0:
        return np.int64(0)
    return np.int64(int32_at(host.choices, 2 * (v * SLOTS + ((slot - 1) & SLOT_MASK))).value)


@device
def hold_drawn_on(host, p):
    """Hold time of the cycle of the vCPU on p."""
    return np.int64(int32_at(host.draws, 2 * (get(host, POSITION, p) & CYCLE_OF_VCPU_MASK)).value)


@device
def cycle_bits(host, v, slot):
    """Lock and HLT of the cycle in ``slot``, as they stand in POSITION."""
    vm_config = vm_config_at(stream_at(host.streams, v).vm_config, 0)
    if vm_config.has_choice == 0:
        return vm_config.first_lock << LOCK_SHIFT
    return (
        np.int64(int32_at(host.choices, 2 * (v * SLOTS + ((slot - 1) & SLOT_MASK)) + 1).value) & CHOICE_MASK
    )


@device
def is_in_newer_half(host, v, slot):
    """Whether ``slot`` is in the half that was drawn last; the other one then is behind the vCPU."""
    return (slot // HALF) & 1 == (stream_at(host.streams, v).halves - 1) & 1


@device
def cycle_of(host, v, slot):
    """Number of the cycle in ``slot``, from 0."""
    half = stream_at(host.streams, v).halves - 2 + np.int64(is_in_newer_half(host, v, slot))
    return half * HALF + slot % HALF


# Locks


@device
def get_word(host, g):
    """Lock word of lock g."""
    return np.int64(int32_at(host.locks, g).value)


@device
def put_word(host, g, word):
    """Set the lock word of lock g."""
    int32_at(host.locks, g).value = np.int32(word)


@device
def count_of(host, g):
    """The holder of lock g and those that wait for it (of an unfair lock: that are spinning)."""
    return (get_word(host, g) >> COUNT_SHIFT) & (COUNTS - 1)


# The queue of a lock is a ring of TICKETS places. In that of a ticket stands which vCPU has it.


@device
def place_of(host, g, ticket):
    """Place of a ticket in the queue of lock g."""
    return int16_at(host.waiters, g * TICKETS + ticket % TICKETS)


@device
def waiter_with(host, g, ticket):
    """The waiter of lock g that has a ticket: the pCPU on which it spins, or ~v for a vCPU v that is off CPU."""
    v = np.int64(place_of(host, g, ticket).value)
    vcpu = vcpu_at(host.vcpus, v)
    return vcpu.runs_on if vcpu.state == RUNNING else ~v


@device
def enqueue(host, g, p):
    """The vCPU that starts to spin on p is the last of those that lock g counts."""
    place_of(host, g, get_word(host, g) + count_of(host, g) - 2).value = np.int16(pcpu_at(host.pcpus, p).vcpu)


@device
def dequeue(host, g):
    """Take the longest waiter out of the queue of lock g: its pCPU, or ~v if it is off CPU."""
    word = get_word(host, g)
    put_word(host, g, word - word % TICKETS + (word + 1) % TICKETS)
    return waiter_with(host, g, word)
