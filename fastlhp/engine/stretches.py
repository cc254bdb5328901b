"""Stretches of events in scalar code: how long it stays with a lane before a course begins.

A course is worth the trouble of its beginning and end if guests do much in it. Where the hypervisor intervenes all the
time, scalar code goes on with a lane instead, whose state is in the first-level cache then; and between two
interventions it takes a short way (`let_guests_run`): most of what guests do concerns nobody else.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.control import handle_here, lock_attempt, look, next_at
from fastlhp.engine.draws import draw_if_due
from fastlhp.engine.jit import device
from fastlhp.engine.machine import end_wait, grant_off_cpu, next_cycle, vm_config_on
from fastlhp.engine.rows import (
    dequeue,
    get,
    get_word,
    key_of,
    phase_of,
    position_of,
    put,
    put_word,
    vcpu_in,
    waiter_with,
)
from fastlhp.engine.state import (
    COUNT_UNIT,
    COUNTS,
    CYCLE_OF_VCPU_MASK,
    EDGE,
    GUEST_PHASE,
    GUESTS,
    HALF,
    HALT_BIT,
    HOLDING,
    LATEST,
    LOCK_MASK,
    LOCK_SHIFT,
    ORDER_BITS,
    ORDER_MASK,
    POSITION,
    REBASE_NS,
    SLOT_MASK,
    TILE,
    TRAP_NONE,
    USER,
    WORD_FORESEEABLE,
    WORD_LINE,
    WORD_SCALAR,
    WORD_UNFAIR,
    config_at,
    int32_at,
    int64_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.engine.vectors import lowest_of, repeat, written

AT_ONCE = 1000
"""Events of one lane after which scalar code turns to the others."""
GONE = 0
"""Instead of the key of the next event that is not a guest's, which will not come: nobody knows the next one."""
BEGINS, OVER, UP_TO_HORIZON = range(3)


@device
def go_on(host, least):
    """Let scalar code go on until the course of the lane, or of a tile, can begin and is worth the trouble.

    That is BEGINS; before it, the replication may be OVER, or a tile may have come UP_TO_HORIZON. At least so many
    events are handled.
    """
    config = config_at(host.config, 0)
    n = np.int64(0)
    while True:
        if host.next_key >= host.horizon:
            return np.int64(UP_TO_HORIZON)
        if host.next_key < host.other_key or n >= AT_ONCE:
            is_short = (host.other_key >> ORDER_BITS) - next_at(host) < host.short_ns
            most = np.int64(AT_ONCE) if is_short else host.scalar_events
            if n >= max(most, least) and next_at(host) > host.done_until:
                return np.int64(BEGINS)
            if n < most and host.next_key < host.other_key and config.gives_way == 0:
                n += let_guests_run(host, most - n)
                if host.next_key >= host.horizon:
                    return np.int64(UP_TO_HORIZON)
        if handle_here(host):
            return np.int64(OVER)
        look(host)
        n += 1


@device
def reconsider(host):
    """The course is at its end: if it was too short to be worth the trouble, the next one has to wait."""
    if host.done_until - host.course_began < host.short_ns:
        host.scalar_events = min(2 * host.scalar_events + 16, AT_ONCE)
    else:
        host.scalar_events = 0


@device
def let_guests_run(host, most):
    """Do what guests do without the hypervisor, up to so many events; return how many these were.

    These change nothing that comes later but what guests do next, so that the next event is soon found.
    """
    limit = min(min(host.other_key, host.horizon), key_of(host.base_ns + REBASE_NS, EDGE))
    key = host.next_key
    last = host.done_until << ORDER_BITS
    n = np.int64(0)
    while key < limit and n < most:
        p = (key & ORDER_MASK) - GUESTS
        if not runs_alone(host, p, key):
            if not meets_others(host, p, key >> ORDER_BITS):
                break
            if config_at(host.config, 0).threshold != 0:
                threshold = int64_at(host.thresholds, p).value
                limit = min(limit, threshold)
                host.other_key = min(host.other_key, threshold)
        last = key
        key = soonest(host.guests + 8 * TILE * host.first_tile, host.n_tile)
        n += 1
    host.done_until = last >> ORDER_BITS
    if host.other_key == GONE:
        look(host)
    else:
        host.next_key = min(key, host.other_key)
    return n


@written("int64(int64, int64)")
def soonest(keys, n_tiles):
    """The smallest of some tiles of keys."""

    def tile(i, lowest):
        return (lowest.lower(lowest_of([(keys + i * (8 * TILE) + 8 * j).number() for j in range(TILE)])),)

    (lowest,) = repeat(n_tiles, tile, keys.like(LATEST << ORDER_BITS))
    return lowest


@device
def runs_alone(host, p, key):
    """Do the event of the guest on p that has a key, if it concerns nobody else.

    Which event that is nobody can foretell: so there are no branches on it.
    """
    position, phase = get(host, POSITION, p), phase_of(host, p)
    g = (position >> LOCK_SHIFT) & LOCK_MASK
    word = get_word(host, g)
    releases = np.int64(phase == HOLDING)
    pcpu = pcpu_at(host.pcpus, p)
    if (
        (word & (COUNT_UNIT * (COUNTS - 1) | WORD_SCALAR) != COUNT_UNIT * releases)
        | (position & HALT_BIT != 0)
        | (pcpu.trap != TRAP_NONE)
    ):
        return False
    if host.choices != 0 and phase == USER and vm_config_on(host, p).has_kernel != 0:
        return False
    # The hold time of a cycle, and then the user time after it, stand beside each other.
    drawn = int32_at(host.draws, 2 * (position & CYCLE_OF_VCPU_MASK) + releases).value
    put_word(host, g, word + COUNT_UNIT * (1 - 2 * releases))
    position = (position & ~SLOT_MASK) | ((position + releases) & SLOT_MASK)
    if host.choices != 0:
        position = position_of(host, vcpu_in(position), position & SLOT_MASK)
    put(host, POSITION, p, position)
    put(host, GUEST_PHASE, p, HOLDING - (HOLDING - USER) * releases)
    int64_at(host.guests, p).value = key + (np.int64(drawn) << ORDER_BITS)
    if (position & (HALF - 1)) + releases == 3:
        draw_if_due(host, vcpu_in(position), position & SLOT_MASK)
    return True


@device
def meets_others(host, p, t):
    """Do the event of the guest on p at t, if it is about a lock for which others wait in a queue."""
    position, phase = get(host, POSITION, p), phase_of(host, p)
    g = (position >> LOCK_SHIFT) & LOCK_MASK
    word = get_word(host, g)
    pcpu = pcpu_at(host.pcpus, p)
    if (
        (word & (WORD_FORESEEABLE | WORD_UNFAIR | WORD_LINE | WORD_SCALAR) != WORD_FORESEEABLE)
        | (position & HALT_BIT != 0)
        | (pcpu.trap != TRAP_NONE)
    ):
        return False
    if phase == HOLDING:
        q = waiter_with(host, g, word)
        if q < 0 and vcpu_at(host.vcpus, ~q).blocked != 0:
            return False
        put_word(host, g, word - COUNT_UNIT)
        dequeue(host, g)
        next_cycle(host, p, t)
        if q < 0:
            grant_off_cpu(host, g, ~q, t)
        else:
            if int64_at(host.thresholds, q).value == host.other_key:
                host.other_key = GONE
            end_wait(host, q, t)
        return True
    vm_config = vm_config_at(host.config_vms, vcpu_at(host.vcpus, pcpu.vcpu).vm)
    if phase == USER and vm_config.has_kernel != 0:
        return False
    lock_attempt(vm_config.lock_kind, host, p, g, t)
    return True
