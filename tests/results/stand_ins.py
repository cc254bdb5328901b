"""Stand-ins for studies, and results with known counters."""

from types import SimpleNamespace

import numpy as np

from fastlhp.results.counters import (
    EARLY_COUNTERS,
    HISTOGRAMS,
    HOST_COUNTERS,
    HOST_INDEX,
    N_BINS,
    VM_COUNTERS,
    VM_INDEX,
    ConfigurationResult,
    Status,
)
from fastlhp.results.results import Attributes, MemoryData, Results


def make_study(coordinates=None, vms=(1, 2, 3), replications=4, name="small", seed=7, pcpus=2):
    """Make what looks like a study: one configuration for each number of VMs in `vms`."""
    configurations = [
        SimpleNamespace(
            index=i,
            labels={path: labels[i] for path, labels in (coordinates or {}).items()},
            duration_ns=2_000_000_000,
            host=SimpleNamespace(pcpus=pcpus, frequency_hz=2.5e9),
            vms=tuple(SimpleNamespace(name=f"guest-{m}", vcpus=m + 1, weight=1.0 + m) for m in range(n)),
        )
        for i, n in enumerate(vms)
    ]
    return SimpleNamespace(
        name=name,
        seed=seed,
        replications=replications,
        text=f'[study]\nname = "{name}"\n',
        configurations=configurations,
        n_configurations=len(configurations),
        coordinates=coordinates or {"vm.guest.count": list(vms)},
        keeps_replications=True,
    )


def make_result(study, index, seed=0, replications=None):
    """Make random counters that look like a simulation's."""
    rng = np.random.default_rng([seed, index])
    r = study.replications if replications is None else replications
    n_vms = len(study.configurations[index].vms)
    vm = rng.integers(0, 1000, (r, n_vms, len(VM_COUNTERS)))
    for counter, i in VM_INDEX.items():
        if counter.endswith("_ns"):
            vm[:, :, i] = rng.integers(0, 400_000_000, (r, n_vms))
    vm[:, :, VM_INDEX["acquisitions"]] += 2000
    vm[:, :, VM_INDEX["preemptions"]] += 1000
    host = rng.integers(0, 400_000_000, (r, len(HOST_COUNTERS)))
    histogram = np.zeros((len(HISTOGRAMS), N_BINS), dtype=np.int64)
    histogram[:, 100:300] = rng.integers(0, 50, (len(HISTOGRAMS), 200))
    early = vm[:, :, [VM_INDEX[name] for name in EARLY_COUNTERS]].sum(axis=1) // 3
    return ConfigurationResult(index, vm, host, histogram, early=early)


def plain_result(replications=1, n_vms=1, index=0, host=None, **counters):
    """Make a result from counters: a number, or an array that broadcasts to (replication, vm)."""
    vm = np.zeros((replications, n_vms, len(VM_COUNTERS)), dtype=np.int64)
    for name, value in counters.items():
        vm[:, :, VM_INDEX[name]] = value
    of_host = np.zeros((replications, len(HOST_COUNTERS)), dtype=np.int64)
    for name, value in (host or {}).items():
        of_host[:, HOST_INDEX[name]] = value
    return ConfigurationResult(index, vm, of_host)


def in_memory(study, *results):
    """Make results in memory."""
    about = Attributes(
        study.name, study.seed, study.text, "2026-01-01T00:00:00+00:00", "0.1.0", {}, {"events": 5}
    )
    data = MemoryData(study, study.replications, about)
    for result in results:
        data.write(result)
    return Results(data)


def failed(index, message="lane 3 ran out of events"):
    """Make the result of a configuration that failed."""
    return ConfigurationResult(index, status=Status.FAILED, message=message)
