"""Counter-based draws: every random number is a function of its name.

Philox is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. The page
`docs/semantics.md`, section 1, is the specification.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.rows import is_in_newer_half
from fastlhp.engine.state import (
    CHOICE,
    CONSTANT,
    CYCLE,
    EXPONENTIAL,
    HALF,
    HALT,
    HALT_BIT,
    LOCK_SHIFT,
    SLOT_MASK,
    SLOTS,
    TABLE,
    VM_CONFIG,
    distribution_at,
    float32_at,
    int32_array,
    int32_at,
    int64_at,
    stream_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.engine.vectors import pairs, written

_U32 = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M4A = np.uint64(0xD2511F53)
_M4B = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)

_VM_CONFIG_SIZE = VM_CONFIG.itemsize

_F = np.float32
_HALF, _ZERO = _F(0.5), _F(0.0)
_LONGEST = _F(2.0**30)
_LN2 = 0.693147180559945 * 2.0**-23
_SQRT2_BITS = 0x3FB504F3
#: Of (-log(1 - t) - t) / t**2; the relative error of the whole is at most 2.4e-7 (`docs/semantics.md`).
_SERIES = (0.500005007, 0.333337456, 0.249606386, 0.199421033, 0.174258575, 0.159042627, 0.090757988)

SEGMENTS_PER_OCTAVE = 32
FIRST_OCTAVE, LAST_OCTAVE = -16, 4
N_SEGMENTS = SEGMENTS_PER_OCTAVE * (LAST_OCTAVE - FIRST_OCTAVE + 1) + 1
_SEGMENT_SHIFT = 18
_FIRST_SEGMENT = (int(np.float32(2.0**FIRST_OCTAVE).view(np.int32)) >> _SEGMENT_SHIFT) - 1


def _philox2x32(c0, c1, key):
    """Ten rounds on int64 values of which only the lower halves count."""
    for _ in range(10):
        product = (c0 & 0xFFFFFFFF) * 0xD256D193
        c0, c1 = (product >> 32) ^ key ^ c1, product
        key = key + 0x9E3779B9
    return c0, c1


@written("UniTuple(uint64, 2)(uint64, uint64, uint64)")
def philox2x32(c0, c1, key):
    """Two 32-bit words from two counter words and a key word; 10 rounds."""
    w0, w1 = _philox2x32(c0, c1, key)
    return w0 & 0xFFFFFFFF, w1 & 0xFFFFFFFF


@device
def philox4x32(c0, c1, c2, c3, k0, k1):
    """First two of the four words (as uint64) of Philox4x32, 10 rounds."""
    c0 = np.uint64(c0)
    c1 = np.uint64(c1)
    c2 = np.uint64(c2)
    c3 = np.uint64(c3)
    k0 = np.uint64(k0)
    k1 = np.uint64(k1)
    for _ in range(10):
        a = c0 * _M4A
        b = c2 * _M4B
        c0 = (b >> _SHIFT) ^ c1 ^ k0
        c1 = b & _U32
        c2 = (a >> _SHIFT) ^ c3 ^ k1
        c3 = a & _U32
        k0 = (k0 + _W0) & _U32
        k1 = (k1 + _W1) & _U32
    return c0, c1


@device
def words(host, vm, vcpu, purpose, n):
    """The two words of a draw by its name; 32 bits each, as int64."""
    k, c = philox4x32(vm, vcpu, host.replication, purpose, host.seed_low, host.seed_high)
    w0, w1 = philox2x32(n, c, k)
    return np.int64(w0), np.int64(w1)


def _exponential(word):
    """Standard exponential variates of 32-bit words: minus the logarithms of the fractions that they stand for.

    A fraction is 2**-k * (1 - t), with t small; the series in t has few terms, and they are summed in pairs, so that
    none has to wait for all others.
    """
    fraction = (word >> 1).to_float() * 2.0**-31 + 2.0**-32
    k = (_SQRT2_BITS - fraction.bits()) & 0xFF800000  # times 2**23: in the place of a float's exponent
    t = 1.0 - (fraction.bits() + k).of_bits()
    z = t * t
    low = (t * _SERIES[1] + _SERIES[0]) + z * (t * _SERIES[3] + _SERIES[2])
    high = (t * _SERIES[5] + _SERIES[4]) + z * _SERIES[6]
    return k.to_float() * _LN2 + (z * (low + (z * z) * high) + t)


@written("float32(uint32)")
def exponential(word):
    """Standard exponential variate (float32) of a 32-bit word."""
    return _exponential(word)


@device
def segment_of(e):
    """Index of the segment of a quantile table that covers the exponential variate ``e``."""
    i = np.int64(np.float32(e).view(np.int32) >> np.int32(_SEGMENT_SHIFT)) - _FIRST_SEGMENT
    return min(max(i, 0), N_SEGMENTS - 1)


@device
def table_value(segments, e):
    """Duration before rounding, from the quantile table at address ``segments``."""
    i = segment_of(e)
    return float32_at(segments, 2 * i).value + float32_at(segments, 2 * i + 1).value * e


@device
def duration(distribution, word):
    """Duration in ns that a 32-bit word stands for; ``distribution`` is an address."""
    d = distribution_at(distribution, 0)
    if d.kind == CONSTANT:
        return d.value
    e = exponential(word)
    if d.kind == EXPONENTIAL:
        x = np.float32(d.mean) * e
    else:
        x = table_value(d.segments, e)
    return np.int64(np.int32(min(x, _LONGEST) + _HALF))


@device
def choice(word, n):
    """One of 0..n-1 for a 32-bit word."""
    return (word * n) >> 32


@device
def lock_choice(vm_config, word):
    """Index of the lock that a 32-bit word stands for; the VM's bounds are cumulated shares of 2**32."""
    k = 0
    while word >= int64_at(vm_config.lock_bounds, k).value:
        k += 1
    return k


# A vCPU has the draws of SLOTS cycles in memory: with each cycle its hold time and what comes after its release, until
# the next attempt. They are drawn by halves: one as soon as nothing of it is needed any more.


@written("UniTuple(int64, 3)(int64, int64, uint64, uint64, uint64, float32, float32, int32, int32)")
def draw_cycles(draws, variates, first, counter, key, hold_mean, user_mean, hold_value, user_value):
    """Draw HALF cycles, from ``first`` on, to the address ``draws``; returns what `totals_of` does.

    The variates go to an address too. A duration is its variate times the mean, cut and rounded, plus the value: so
    constants need no code of their own, and tables overwrite theirs.
    """
    w0, w1 = _philox2x32(first.counting(HALF), counter.times(HALF), key.times(HALF))
    e = _exponential((w0 << 32 | w1 & 0xFFFFFFFF).split())
    variates.store(e)
    x = e * pairs(hold_mean, user_mean, HALF)
    durations = (x.least(2.0**30) + 0.5).to_int() + pairs(hold_value, user_value, HALF)
    draws.store(durations)
    return _totals(durations)


@written("UniTuple(int64, 3)(int64)")
def totals_of(draws):
    """Of HALF cycles at an address: the sum of the hold times, that of the user times, and how many are 0."""
    return _totals(draws.load(2 * HALF, 32))


def _totals(durations):
    cycles = durations.joined()
    return (cycles & 0xFFFFFFFF).sum(), (cycles >> 32).sum(), durations.equals(0).count()


@device
def _mean_of(distribution):
    return np.float32(distribution.mean) if distribution.kind == EXPONENTIAL else _ZERO


@device
def _look_up(segments, variates, draws):
    """Take every other one of the durations at an address from a table."""
    for i in range(0, 2 * HALF, 2):
        x = table_value(segments, float32_at(variates, i).value)
        int32_at(draws, i).value = np.int32(min(x, _LONGEST) + _HALF)


@device
def draw_half(host, v):
    """Draw a vCPU's next half, in place of the older one."""
    stream = stream_at(host.streams, v)
    vm_config = vm_config_at(stream.vm_config, 0)
    hold, user = distribution_at(vm_config.hold, 0), distribution_at(vm_config.user, 0)
    first = stream.halves * HALF
    draws = host.draws + 8 * (v * SLOTS + first % SLOTS)
    totals = draw_cycles(
        draws,
        host.variates,
        first,
        stream.counter,
        stream.key,
        _mean_of(hold),
        _mean_of(user),
        np.int32(hold.value),
        np.int32(user.value),
    )
    if hold.kind == TABLE:
        _look_up(hold.segments, host.variates, draws)
    if user.kind == TABLE:
        _look_up(user.segments, host.variates + 4, draws + 4)
    if hold.kind == TABLE or user.kind == TABLE:
        totals = totals_of(draws)
    hold_ns, user_ns, zeros = totals
    kernel_ns = np.int64(0)
    if host.choices != 0 and (vm_config.has_choice != 0 or stream.halves < 2):
        kernel_ns, more_zeros = fill_choices(host, v, first, HALF)
        zeros += more_zeros
    stream.older_user_ns, stream.older_kernel_ns = stream.newer_user_ns, stream.newer_kernel_ns
    stream.older_hold_ns, stream.older_zeros = stream.newer_hold_ns, stream.newer_zeros
    stream.newer_user_ns, stream.newer_kernel_ns = stream.user_ns, stream.kernel_ns
    stream.newer_hold_ns, stream.newer_zeros = stream.hold_ns, stream.zeros
    stream.user_ns += user_ns
    stream.kernel_ns += kernel_ns
    stream.hold_ns += hold_ns
    stream.zeros += zeros
    stream.halves += 1


@device
def draw_if_due(host, v, slot):
    """Draw a vCPU's next half if it is due (`is_due`)."""
    if is_due(host, v, slot):
        draw_half(host, v)


@device
def is_due(host, v, slot):
    """Whether a vCPU needs none of its older half any more: ``slot`` is that of its next attempt.

    The first attempt in the newer half may still be withdrawn (`course.interrupt`); the user time before it is in the
    older one.
    """
    return is_in_newer_half(host, v, slot) and slot % HALF > 1


@device
def fill_choices(host, v, cycle, n):
    """What else is drawn for the cycles after n ones, from ``cycle`` on: kernel times, locks and HLT coins.

    Returns the sum of the kernel times and how many of them are 0.
    """
    vcpu = vcpu_at(host.vcpus, v)
    vm_config = vm_config_at(host.config_vms, vcpu.vm)
    choices = int32_array(host.choices + 8 * v * SLOTS, 2 * SLOTS)
    kernel_sum, zeros = np.int64(0), np.int64(0)
    for i in range(cycle, cycle + n):
        w0, w1 = words(host, vcpu.vm, vcpu.index, CHOICE, i + 1)
        kernel_ns = np.int64(0)
        if vm_config.has_kernel != 0:
            kernel_ns = duration(vm_config.kernel, w0)
            kernel_sum += kernel_ns
            zeros += np.int64(kernel_ns == 0)
        lock = vm_config.first_lock
        if vm_config.n_lock > 1:
            lock += lock_choice(vm_config, w1)
        bits = lock << LOCK_SHIFT
        if vm_config.has_halt != 0:
            h0, _ = words(host, vcpu.vm, vcpu.index, HALT, i + 1)
            if h0 < vm_config.halt_below:
                bits |= HALT_BIT
        slot = i & SLOT_MASK
        choices[2 * slot] = np.int32(kernel_ns)
        choices[2 * slot + 1] = np.int32(bits)
    return kernel_sum, zeros


@device
def start_draws(host, v):
    """Prepare a vCPU's stream, and what it needs of it for its first half and before its first attempt."""
    vcpu = vcpu_at(host.vcpus, v)
    stream = stream_at(host.streams, v)
    stream.vm_config = host.config_vms + _VM_CONFIG_SIZE * vcpu.vm
    vm_config = vm_config_at(stream.vm_config, 0)
    k, c = philox4x32(vcpu.vm, vcpu.index, host.replication, CYCLE, host.seed_low, host.seed_high)
    stream.key, stream.counter, stream.halves = np.int64(k), np.int64(c), 0
    w0, _ = philox2x32(_U32, c, k)
    user = duration(vm_config.user, np.int64(w0))
    int32_at(host.draws, 2 * (v * SLOTS + SLOTS - 1) + 1).value = np.int32(user)
    stream.user_ns, stream.kernel_ns, stream.hold_ns, stream.zeros = user, 0, 0, np.int64(user == 0)
    if host.choices != 0:
        stream.kernel_ns, zeros = fill_choices(host, v, -1, 1)
        stream.zeros += zeros
    draw_half(host, v)
