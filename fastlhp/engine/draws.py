"""Counter-based draws: every random number is a function of its name.

Philox is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. The
logarithm is the single-precision polynomial of the Cephes library (S. L. Moshier): LLVM vectorises it, while a
call of the mathematical library is scalar. The page `docs/semantics.md`, section 1, is the specification.
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
    VM_CONFIG,
    distribution_at,
    float32_array,
    float32_at,
    int32_array,
    int32_at,
    int64_at,
    stream_at,
    vcpu_at,
    vm_config_at,
)

_U32 = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M2 = np.uint64(0xD256D193)
_M4A = np.uint64(0xD2511F53)
_M4B = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_ONE = np.uint32(1)
_HALF_CYCLES = np.uint64(HALF)
_TWO, _ONE64 = np.uint64(2), np.uint64(1)

_VM_CONFIG_SIZE = VM_CONFIG.itemsize

_F = np.float32
_HALF = _F(0.5)
_LN2 = _F(0.693147180559945)
_ZERO = _F(0.0)
_UNIT = _F(1.0)
_LONGEST = _F(2.0**30)
_C0, _C1, _C2 = _F(7.0376836292e-2), _F(-1.1514610310e-1), _F(1.1676998740e-1)
_C3, _C4, _C5 = _F(-1.2420140846e-1), _F(1.4249322787e-1), _F(-1.6668057665e-1)
_C6, _C7, _C8 = _F(2.0000714765e-1), _F(-2.4999993993e-1), _F(3.3333331174e-1)
_SQRT2_MANTISSA = np.int32(0x3504F3)
_MANTISSA = np.int32(0x7FFFFF)
_ONE_BITS = np.int32(0x3F800000)
_MANTISSA_BITS = np.int32(23)

SEGMENTS_PER_OCTAVE = 32
FIRST_OCTAVE, LAST_OCTAVE = -16, 4
N_SEGMENTS = SEGMENTS_PER_OCTAVE * (LAST_OCTAVE - FIRST_OCTAVE + 1) + 1
_SEGMENT_SHIFT = 18
_FIRST_SEGMENT = (int(np.float32(2.0**FIRST_OCTAVE).view(np.int32)) >> _SEGMENT_SHIFT) - 1


@device
def philox2x32(c0, c1, key):
    """Two 32-bit words (as uint64) from two counter words and a key word; 10 rounds."""
    c0 = np.uint64(c0)
    c1 = np.uint64(c1)
    key = np.uint64(key)
    for _ in range(10):
        product = c0 * _M2
        c0 = (product >> _SHIFT) ^ key ^ c1
        c1 = product & _U32
        key = (key + _W0) & _U32
    return c0, c1


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


@device
def exponential(word):
    """Standard exponential variate (float32) of a 32-bit word."""
    y = np.float32(np.int32(np.uint32(word) >> _ONE)) + _HALF
    bits = np.float32(y).view(np.int32)
    mantissa = bits & _MANTISSA
    upper = np.int32(mantissa >= _SQRT2_MANTISSA)
    exponent = (bits >> _MANTISSA_BITS) - np.int32(127) + upper
    f = np.int32(mantissa | (_ONE_BITS - (upper << _MANTISSA_BITS))).view(np.float32)
    s = f - _UNIT
    z = s * s
    q = _C0 * s + _C1
    q = q * s + _C2
    q = q * s + _C3
    q = q * s + _C4
    q = q * s + _C5
    q = q * s + _C6
    q = q * s + _C7
    q = q * s + _C8
    log_f = s + (q * (s * z) - _HALF * z)
    e = np.float32(np.int32(31) - exponent) * _LN2 - log_f
    return max(e, _ZERO)


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


@device
def draw_words(host, v, address):
    """Philox words of a vCPU's next half: the first ones, then the second ones, to an address.

    The number of cycles is read from memory, here and below: LLVM would unroll a short loop of constant length before
    it comes to vectorising it.
    """
    stream = stream_at(host.streams, v)
    n = np.uint64(host.half)
    # LLVM has to know that these have 32 bits: only then is a multiplication one vector instruction.
    start = np.uint64(stream.halves * HALF) & _U32
    counter, key = np.uint64(stream.counter) & _U32, np.uint64(stream.key) & _U32
    scratch = int32_array(address, 2 * HALF)
    for i in range(n):
        w0, w1 = philox2x32((start + i) & _U32, counter, key)
        scratch[i] = np.int32(np.uint32(w0))
        scratch[i + _HALF_CYCLES] = np.int32(np.uint32(w1))


@device
def words_to_variates(address, n):
    """Turn n words into the bits of standard exponential variates, in place."""
    scratch = int32_array(address, n)
    for i in range(np.uint64(n)):
        scratch[i] = np.float32(exponential(np.uint32(scratch[i]))).view(np.int32)


@device
def _to_durations(distribution, address, n):
    """Turn n variates into durations, in place; a loop for each kind of distribution: so it is vectorised."""
    d = distribution_at(distribution, 0)
    values = int32_array(address, HALF)
    if d.kind == EXPONENTIAL:
        mean = np.float32(d.mean)
        for i in range(n):
            x = mean * np.int32(values[i]).view(np.float32)
            values[i] = np.int32(min(x, _LONGEST) + _HALF)
    elif d.kind == CONSTANT:
        value = np.int32(d.value)
        for i in range(n):
            values[i] = value
    else:
        segments = float32_array(d.segments, 2 * N_SEGMENTS)
        for i in range(n):
            e = np.int32(values[i]).view(np.float32)
            j = np.uint64(2 * segment_of(e))
            x = segments[j] + segments[j + np.uint64(1)] * e
            values[i] = np.int32(min(x, _LONGEST) + _HALF)


@device
def store_half(host, v, address):
    """Let the vCPU's next half be that of the variates at an address, in place of the older one."""
    stream = stream_at(host.streams, v)
    vm_config = vm_config_at(stream.vm_config, 0)
    n = np.uint64(host.half)
    _to_durations(vm_config.user, address, n)
    _to_durations(vm_config.hold, address + 4 * HALF, n)
    first = stream.halves * HALF % SLOTS
    scratch = int32_array(address, 2 * HALF)
    draws = int32_array(host.draws + 8 * (v * SLOTS + first), 2 * HALF)
    for i in range(n):
        draws[_TWO * i] = scratch[i + _HALF_CYCLES]
        draws[_TWO * i + _ONE64] = scratch[i]
    user, hold, n_zero = np.int64(0), np.int64(0), np.int32(0)
    for i in range(n):
        user += scratch[i]
        hold += scratch[i + _HALF_CYCLES]
        n_zero = np.int32(n_zero + np.int32(scratch[i] == 0) + np.int32(scratch[i + _HALF_CYCLES] == 0))
    kernel, zeros = np.int64(0), np.int64(n_zero)
    if host.choices != 0 and (vm_config.has_choice != 0 or stream.halves < 2):
        kernel, more_zeros = fill_choices(host, v, stream.halves * HALF, HALF)
        zeros += more_zeros
    stream.older_user_ns, stream.older_kernel_ns = stream.newer_user_ns, stream.newer_kernel_ns
    stream.older_hold_ns, stream.older_zeros = stream.newer_hold_ns, stream.newer_zeros
    stream.newer_user_ns, stream.newer_kernel_ns = stream.user_ns, stream.kernel_ns
    stream.newer_hold_ns, stream.newer_zeros = stream.hold_ns, stream.zeros
    stream.user_ns += user
    stream.kernel_ns += kernel
    stream.hold_ns += hold
    stream.zeros += zeros
    stream.halves += 1


@device
def draw_half(host, v):
    """Draw a vCPU's next half."""
    draw_words(host, v, host.words)
    words_to_variates(host.words, 2 * HALF)
    store_half(host, v, host.words)


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
