"""What strict co-scheduling costs: CPU fragmentation and priority inversion, against what arithmetic says."""

import numpy as np
import pytest

import fastlhp


def run(pcpus, vms, scheduler):
    """Constant times, so that one replication tells everything."""
    return fastlhp.run(
        {
            "study": {"name": "gang", "seed": 1, "duration": "40ms", "warmup": "0ms", "replications": 1},
            "host": {"pcpus": pcpus, "frequency": "1GHz"},
            "policy": {"scheduler": scheduler},
            "vm": [{"user": "7us", "hold": "1us", "lock": {"kind": "ticket"}, **vm} for vm in vms],
        },
        threads=1,
    )


GANG = {"kind": "gang", "slice": "1ms", "phase": "aligned"}
PINNED = {"kind": "round_robin", "slice": "1ms", "phase": "aligned", "order": "vm"}


def test_fragmentation():
    """A VM of 3 vCPUs waits for its slot while 2 of 4 pCPUs idle in that of a VM of 2, and the other way about."""
    vms = [{"name": "narrow", "vcpus": 2}, {"name": "wide", "vcpus": 3}]
    gang = run(4, vms, GANG)
    # Of every two slots one leaves 2 pCPUs idle and the other 1, always with somebody waiting.
    assert gang["fragmentation"][0, 0] == pytest.approx(0.040 * (2 + 1) / 2, rel=1e-12)
    assert gang["fragmentation"][0, 0] == gang["idle_time"][0, 0]
    # Pinned vCPUs use every pCPU that somebody is pinned to: nobody waits where a pCPU idles.
    pinned = run(4, vms, PINNED)
    assert pinned["idle_time"][0, 0] < gang["idle_time"][0, 0]


def test_priority_inversion():
    """A heavy VM of one vCPU waits in every other slot, while a light gang has its column."""
    vms = [{"name": "light", "vcpus": 2, "weight": 1}, {"name": "heavy", "vcpus": 1, "weight": 4}]
    results = run(2, vms, GANG)
    light, heavy = results.vm("priority_inversion")[0, 0]
    assert heavy == pytest.approx(0.020, rel=1e-12)
    assert light == 0
    equal = run(2, [{**vm, "weight": 1} for vm in vms], GANG)
    assert not np.any(equal.vm("priority_inversion"))
