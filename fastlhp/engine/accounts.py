"""From running totals to the counters of a replication."""

from __future__ import annotations

from fastlhp.engine.jit import device
from fastlhp.engine.machine import book, book_waits, consumed, look_out, settle, settle_spinner
from fastlhp.engine.rows import is_spinning
from fastlhp.engine.state import (
    BROKEN_ACCOUNTS,
    COSTOPPED,
    EXITING,
    HALTED,
    N_STATES,
    N_VM_COUNTERS,
    READY,
    RUNNING,
    SERVING,
    SWITCHING,
    config_at,
    int64_array,
    item_at,
    pcpu_at,
    vcpu_at,
    vm_at,
    vm_config_at,
)


@device
def book_all(host, t):
    """Bring every account up to t."""
    settle(host, t)
    for p in range(host.n_pcpu):
        book_waits(host, p)
        if is_spinning(host, p):
            settle_spinner(host, p, t)
    for v in range(host.n_vcpu):
        book(host, v, t)
    for m in range(host.n_vm):
        book_spent(host, m)


@device
def book_spent(host, m):
    """Book to the counters of VM m what its vCPUs have spent in each state."""
    vm = vm_at(host.vms, m)
    spent = int64_array(host.spent + 8 * N_STATES * m, N_STATES)
    vm.spin_ns += spent[RUNNING] + spent[SERVING]
    vm.kernel_ns += spent[SERVING]
    vm.ready_ns += spent[READY] + spent[SWITCHING]
    vm.switch_ns += spent[SWITCHING]
    vm.exit_ns += spent[EXITING]
    vm.costop_ns += spent[COSTOPPED]
    vm.halted_ns += spent[HALTED]
    for state in range(N_STATES):
        spent[state] = 0


@device
def add_consumed(host, sign, t):
    """Add what guests have had since the start to their VM's counters, or take it off."""
    for v in range(host.n_vcpu):
        vm = vm_at(host.vms, vcpu_at(host.vcpus, v).vm)
        user, kernel, hold, acquisitions, _ = consumed(host, v, t)
        vm.user_ns += sign * user
        vm.kernel_ns += sign * kernel
        vm.hold_ns += sign * hold
        vm.acquisitions += sign * acquisitions


@device
def open_window(host, t):
    """The measured window begins: all counters start from zero."""
    book_all(host, t)
    for m in range(host.n_vm):
        clear_vm(host, m)
    host.idle_ns = 0
    host.fragmentation_ns = 0
    add_consumed(host, -1, t)
    host.measuring = 1
    for p in range(host.n_pcpu):
        if pcpu_at(host.pcpus, p).vcpu >= 0:
            look_out(host, p, 0)
    host.edge = config_at(host.config, 0).window_end


@device
def clear_vm(host, m):
    """Set the counters of VM m to zero."""
    counters = int64_array(host.vms + 8 * N_VM_COUNTERS * m, N_VM_COUNTERS)
    for i in range(N_VM_COUNTERS):
        counters[i] = 0


@device
def close_window(host, t):
    """The replication is over: check its accounts and write its counters to where its item says."""
    config = config_at(host.config, 0)
    item = item_at(host.item, 0)
    book_all(host, t)
    add_consumed(host, 1, t)
    length = t - config.window_start
    pcpu_ns = host.idle_ns
    out = int64_array(item.vm_out, host.n_vm * N_VM_COUNTERS)
    for m in range(host.n_vm):
        vm = vm_at(host.vms, m)
        pcpu_ns += vm.spin_ns + vm.switch_ns + vm.exit_ns
        vcpu_ns = vm.spin_ns + vm.exit_ns + vm.ready_ns + vm.costop_ns + vm.halted_ns
        if vcpu_ns != vm_config_at(host.config_vms, m).n_vcpu * length:
            host.error = BROKEN_ACCOUNTS
        vm.spin_ns -= vm.user_ns + vm.kernel_ns + vm.hold_ns
        if vm.spin_ns < vm.spin_lhp_ns + vm.spin_lwp_ns:
            host.error = BROKEN_ACCOUNTS
        counters = int64_array(host.vms + 8 * N_VM_COUNTERS * m, N_VM_COUNTERS)
        for i in range(N_VM_COUNTERS):
            out[m * N_VM_COUNTERS + i] = counters[i]
    if pcpu_ns != host.n_pcpu * length:
        host.error = BROKEN_ACCOUNTS
    events = host.n_switches
    for v in range(host.n_vcpu):
        events += consumed(host, v, t)[4]
    host_out = int64_array(item.host_out, 3)
    host_out[0] = host.idle_ns
    host_out[1] = host.fragmentation_ns
    host_out[2] = events
    item.done = 1 if host.error == 0 else -host.error
