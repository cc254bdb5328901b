"""FIFO run queues: linked lists through the vCPU records."""

from __future__ import annotations

import numpy as np

from fastlhp.engine.draws import choice, words
from fastlhp.engine.jit import device
from fastlhp.engine.state import HOST_OWNER, ORDER, int64_array, queue_at, vcpu_at


@device
def push(host, q, v):
    """Append vCPU v to queue q."""
    queue = queue_at(host.queues, q)
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.next = -1
    vcpu.previous = queue.tail
    if queue.tail >= 0:
        vcpu_at(host.vcpus, queue.tail).next = v
    else:
        queue.head = v
    queue.tail = v
    queue.length += 1


@device
def remove(host, q, v):
    """Take vCPU v out of its place in queue q."""
    queue = queue_at(host.queues, q)
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.previous >= 0:
        vcpu_at(host.vcpus, vcpu.previous).next = vcpu.next
    else:
        queue.head = vcpu.next
    if vcpu.next >= 0:
        vcpu_at(host.vcpus, vcpu.next).previous = vcpu.previous
    else:
        queue.tail = vcpu.previous
    queue.length -= 1


@device
def insert(host, q, v, behind):
    """Put vCPU v into queue q before ``behind``, -1 for the tail."""
    if behind < 0:
        push(host, q, v)
        return
    queue = queue_at(host.queues, q)
    vcpu = vcpu_at(host.vcpus, v)
    follower = vcpu_at(host.vcpus, behind)
    vcpu.next = behind
    vcpu.previous = follower.previous
    if follower.previous >= 0:
        vcpu_at(host.vcpus, follower.previous).next = v
    else:
        queue.head = v
    follower.previous = v
    queue.length += 1


@device
def pop(host, q):
    """Take the head out of queue q; -1 if it is empty."""
    v = queue_at(host.queues, q).head
    if v >= 0:
        remove(host, q, v)
    return v


@device
def shuffle(host, things, n, purpose, vm, owner):
    """Permute the first n of ``things`` (an int64 array) uniformly, by Fisher and Yates from the end."""
    for i in range(n - 1, 0, -1):
        w0, _ = words(host, vm, owner, purpose, n - 1 - i)
        j = choice(w0, i + 1)
        things[i], things[j] = things[j], things[i]


@device
def fill_in_order(host, q, things, n, random_order):
    """Append n vCPUs to queue q, in the given order or in a random one (ORDER draws of the host for q)."""
    if random_order != 0:
        shuffle(host, things, n, ORDER, HOST_OWNER, q)
    for i in range(n):
        push(host, q, things[i])


@device
def spread(host):
    """Queue the vCPUs that nothing pins on one pCPU after the other, each queue in random order."""
    members = room(host)
    for p in range(host.n_pcpu):
        n = 0
        v = p
        while v < host.n_vcpu:
            vcpu_at(host.vcpus, v).queue = p
            members[n] = v
            v += host.n_pcpu
            n += 1
        fill_in_order(host, p, members, n, True)


@device
def room(host):
    """The lane's scratch values."""
    return int64_array(host.scratch, 2 * (host.n_vcpu + host.n_pcpu))


@device
def cut(word, length):
    """A uniform share of a duration, 1 .. length."""
    return ((word * length) >> 32) + np.int64(1)
