"""From running totals to the counters of a replication."""

from __future__ import annotations

from fastlhp.engine.jit import device
from fastlhp.engine.machine import book_waits, consumed, look_out, settle, settle_lock, spend
from fastlhp.engine.state import (
    BROKEN_ACCOUNTS,
    COSTOPPED,
    EXITING,
    HALTED,
    N_HOST_COUNTERS,
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
    for g in range(host.n_lock):
        settle_lock(host, g, t)
    for p in range(host.n_pcpu):
        if pcpu_at(host.pcpus, p).vcpu >= 0:
            book_waits(host, p)
    for v in range(host.n_vcpu):
        spend(host, v, vcpu_at(host.vcpus, v).state, t)
    for m in range(host.n_vm):
        book_spent(host, m)
    for v in range(host.n_vcpu):
        spend(host, v, vcpu_at(host.vcpus, v).state, -t)


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
def clear_vm(host, m):
    """Set the counters of VM m to zero."""
    counters = int64_array(host.vms + 8 * N_VM_COUNTERS * m, N_VM_COUNTERS)
    for i in range(N_VM_COUNTERS):
        counters[i] = 0


@device
def part_edge(host, part):
    """When a part of the measured window begins."""
    config = config_at(host.config, 0)
    length = config.window_end - config.window_start
    return config.window_start + part * length // item_at(host.item, 0).n_part


@device
def cross_edge(host, t):
    """The window, or a part of it, begins or ends: counters are written, and start anew. True at the end of it all."""
    item = item_at(host.item, 0)
    book_all(host, t)
    address = item.vm_out + 8 * N_VM_COUNTERS * host.n_vm * item.part
    events = add_consumed(host, address, t)
    out = int64_array(address, host.n_vm * N_VM_COUNTERS)
    counters = int64_array(host.vms, host.n_vm * N_VM_COUNTERS)
    for i in range(host.n_vm * N_VM_COUNTERS):
        # What guests have had so far belongs to this part and not to the next.
        so_far = out[i]
        out[i] = (counters[i] + so_far) * host.measuring
        counters[i] = -so_far
    if host.measuring != 0:
        check_part(host, address, t - part_edge(host, item.part))
        host_out = int64_array(item.host_out + 8 * N_HOST_COUNTERS * item.part, N_HOST_COUNTERS)
        host_out[0] = host.idle_ns
        host_out[1] = host.fragmentation_ns
        host_out[2] = events - host.n_reported
        host.n_reported = events
        item.part += 1
        if item.part == item.n_part:
            item.done = 1 if host.error == 0 else -host.error
            return True
    host.idle_ns = 0
    host.fragmentation_ns = 0
    host.measuring = 1
    for m in range(host.n_vm):
        look_out(host, m, 0)
    host.edge = part_edge(host, item.part + 1)
    return False


@device
def add_consumed(host, vms, t):
    """Add what guests have had since the start to counters of their VMs; return how many events there have been."""
    events = host.n_switches
    for v in range(host.n_vcpu):
        vm = vm_at(vms, vcpu_at(host.vcpus, v).vm)
        user, kernel, hold, acquisitions, phases = consumed(host, v, t)
        vm.user_ns += user
        vm.kernel_ns += kernel
        vm.hold_ns += hold
        vm.acquisitions += acquisitions
        events += phases
    return events


@device
def check_part(host, vms, length):
    """See that all time of a part is booked; of running vCPUs' time, what is not the guest's work is spinning."""
    pcpu_ns = host.idle_ns
    for m in range(host.n_vm):
        vm = vm_at(vms, m)
        pcpu_ns += vm.spin_ns + vm.switch_ns + vm.exit_ns
        vcpu_ns = vm.spin_ns + vm.exit_ns + vm.ready_ns + vm.costop_ns + vm.halted_ns
        if vcpu_ns != vm_config_at(host.config_vms, m).n_vcpu * length:
            host.error = BROKEN_ACCOUNTS
        vm.spin_ns -= vm.user_ns + vm.kernel_ns + vm.hold_ns
        if vm.spin_ns < vm.spin_lhp_ns + vm.spin_lwp_ns:
            host.error = BROKEN_ACCOUNTS
    if pcpu_ns != host.n_pcpu * length:
        host.error = BROKEN_ACCOUNTS
