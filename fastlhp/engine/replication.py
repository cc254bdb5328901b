"""The start of a replication in a lane."""

from __future__ import annotations

import numpy as np

from fastlhp.engine.accounts import clear_vm, part_edge
from fastlhp.engine.control import revise
from fastlhp.engine.course import is_divisible
from fastlhp.engine.draws import start_draws
from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device
from fastlhp.engine.machine import look_out
from fastlhp.engine.rows import clear_course, position_of, put, put_nothing, put_timer, put_word, user_drawn
from fastlhp.engine.state import (
    BEGIN,
    FOREVER,
    GUEST_PHASE,
    IDLE,
    LATEST,
    N_STATES,
    NEVER,
    NOBODY,
    ORDER_BITS,
    READY,
    RECORD,
    TILE,
    USER,
    VCPU,
    config_at,
    int64_array,
    item_at,
    lock_at,
    pcpu_at,
    queue_at,
    vcpu_at,
    vm_config_at,
    waits_at,
)

start = Hook("scheduler", "start")
_VCPU_WORDS = VCPU.itemsize // 8


@device
def start_replication(host, item_address):
    """Set a lane to time 0 of a replication and let the scheduler place the vCPUs."""
    item = item_at(item_address, 0)
    config = config_at(item.config, 0)
    host.item = item_address
    host.config = item.config
    host.config_vms = config.vms
    host.replication = item.replication
    host.histogram = item.histogram
    host.n_pcpu = config.n_pcpu
    host.n_vcpu = config.n_vcpu
    host.n_vm = config.n_vm
    host.n_lock = config.n_lock
    host.base_ns = 0
    host.measuring = np.int64(config.window_start == 0)
    host.edge = part_edge(host, np.int64(config.window_start == 0))
    host.n_idle = config.n_pcpu
    host.n_ready = config.n_vcpu
    host.settled_until = 0
    host.fragmentation_ns = 0
    host.idle_ns = 0
    host.next_wake = FOREVER
    host.n_switches = 0
    host.n_reported = 0
    host.now = 0
    host.scalar_events = 0
    host.short_ns = config.short_ns
    host.horizon = LATEST << ORDER_BITS
    host.first_tile = 0
    host.n_tile = host.n_row // TILE
    host.slot = 0
    host.slot_end = FOREVER
    host.n_slot = 0
    host.n_slot_draw = 0
    host.error = 0
    host.done_until = 0
    clear_course(host)
    for p in range(host.n_row):
        put(host, GUEST_PHASE, p, NOBODY)
        put_nothing(host, p)
        put_timer(host, p, FOREVER)
    for p in range(host.n_pcpu):
        pcpu = pcpu_at(host.pcpus, p)
        pcpu.mode = IDLE
        pcpu.vcpu = -1
        pcpu.last = -1
        pcpu.slice_began = FOREVER
        pcpu.slice_end = FOREVER
        pcpu.extension_end = 0
        pcpu.extended = 0
        pcpu.watching = 0
        pcpu.trap = 0
        pcpu.action = 0
        pcpu.halt_pending = 0
        pcpu.guard_pending = 0
        pcpu.floor = 0
        put(host, BEGIN, p, NEVER)
        put(host, RECORD, p, 0)
        waits = waits_at(host.waits, p)
        waits.ns = 0
        waits.count = np.int32(0)
        queue = queue_at(host.queues, p)
        queue.head = -1
        queue.tail = -1
        queue.length = 0
    for m in range(host.n_vm):
        clear_vm(host, m)
        _start_vm(host, m)
    start(config.scheduler, host)
    host.divisible = np.int64(is_divisible(host))
    revise(config.scheduler, host)


@device
def _start_vm(host, m):
    """Locks and vCPUs of VM m at time 0."""
    vm_config = vm_config_at(host.config_vms, m)
    spent = int64_array(host.spent + 8 * N_STATES * m, N_STATES)
    for state in range(N_STATES):
        spent[state] = 0
    for k in range(vm_config.n_lock):
        g = vm_config.first_lock + k
        put_word(host, g, vm_config.lock_word)
        lock = lock_at(host.lock_records, g)
        lock.vm = m
        lock.off_owner = -1
        lock.off_holding = 0
        lock.n_spinning = 0
        lock.spun_ns = 0
        lock.n_grant = 0
        lock.n_kick = 0
        lock.n_blocked = 0
        lock.n_waiting = 0
        lock.last_number = 0
        lock.first = -1
        lock.serving = 0
        lock.out_of_order = 0
        lock.waiter = -1
    for j in range(vm_config.n_vcpu):
        v = vm_config.first_vcpu + j
        fields = int64_array(host.vcpus + 8 * _VCPU_WORDS * v, _VCPU_WORDS)
        for i in range(_VCPU_WORDS):
            fields[i] = 0
        vcpu = vcpu_at(host.vcpus, v)
        vcpu.vm = m
        vcpu.index = j
        vcpu.home = -1
        vcpu.state = READY
        vcpu.phase = USER
        vcpu.handover = -1
        vcpu.lhp_cycle = -1
        vcpu.off_since = -1
        vcpu.wake_at = FOREVER
        vcpu.patience_at = FOREVER
        start_draws(host, v)
        vcpu.position = position_of(host, v, 0)
        vcpu.residual = user_drawn(host, v, 0)
    look_out(host, m, 0)
