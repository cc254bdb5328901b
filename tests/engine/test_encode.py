"""Many configurations encoded together are what each of them is alone."""

import ctypes
from typing import Any

import numpy as np
import pytest

import fastlhp
from fastlhp.engine import state
from fastlhp.engine.encode import Encoded, Encoding, Shared
from fastlhp.engine.parameters import record_type
from fastlhp.model.configuration import Configuration
from fastlhp.model.distributions import Distribution
from fastlhp.model.policy import PolicyParameters
from fastlhp.policies import kinds

STUDY = {
    "study": {"name": "encoded", "duration": "10ms", "warmup": "1ms"},
    "host": {"pcpus": 2, "frequency": "2GHz", "context_switch": "2us"},
    "policy": {"scheduler": {"kind": "round_robin", "slice": "1ms"}},
    "vm": [
        {"name": "a", "count": 2, "vcpus": 2, "lock": {"kind": "ticket"}, "user": "10us", "hold": "1us"},
        {"name": "b", "vcpus": 1, "lock": {"kind": "queue"}, "user": {"exponential": "5us"}, "hold": "2us"},
    ],
}
YIELD = {"kind": "yield", "spin_threshold": "20us"}
SWEEPS: dict[str, dict[str, Any]] = {
    "window": {"study.duration": ["1ms", "10ms"], "study.warmup": ["0ms", "1ms", "3ms"]},
    "host": {
        "host.pcpus": [1, 2, 9],
        "host.frequency": ["1GHz", "3GHz"],
        "host.context_switch": ["0ns", "2us", "100cycles", {"exponential": "1us"}],
        "host.vm_exit": ["1us", {"uniform": ["1us", "2us"]}],
    },
    "schedulers": {
        "policy.scheduler": [
            {"kind": "round_robin", "slice": "1ms", "phase": "aligned"},
            {"kind": "round_robin", "slice": "1ms", "phase": [0.25, 0.5]},
            {"kind": "global", "slice": {"exponential": "1ms"}},
            {"kind": "credit"},
            {"kind": "fair"},
            {"kind": "gang", "slice": "1ms"},
            {"kind": "relaxed_coscheduling", "base": "credit"},
        ],
        "vm.a.weight": [1.0, 2.0],
    },
    "presets": {"policy.preset": ["vmware_esx3", "kvm_ple", "xen_credit"], "vm.a.count": [1, 2]},
    "guards": {
        "policy.guard": [
            {"kind": "none"},
            {"kind": "delay", "cap": "100us"},
            {"kind": "delay", "cap": "200us"},
            {"kind": "monitor", "cap": "100us"},
        ],
        "policy.scheduler.slice": ["1ms", "2ms", "3ms"],
    },
    "responses and locks": {
        "policy.response": [
            {"kind": "none"},
            YIELD,
            {"kind": "halt", "spin_threshold": "30us", "wakeup": "5us"},
            {"kind": "directed_yield", "spin_threshold": {"exponential": "20us"}},
        ],
        "vm.a.lock": [
            {"kind": kind} for kind in ("ticket", "test_and_set", "queue", "pv_ticket", "hybrid_queue")
        ],
        "drop_impossible": True,
    },
    "numbers of locks": {
        "zip": {"vm.a.lock.count": [1, 2, 3, 2], "vm.a.lock.weights": [[1], [1, 3], [1, 1, 1], [2, 1]]},
        "vm.b.lock": [{"kind": "preemptable_ticket"}, {"kind": "informed"}],
    },
    "numbers of VMs": {
        "vm.a.count": [0, 1, 3],
        "vm.a.vcpus": [1, 2],
        "vm.b.count": [0, 2],
        "where": "vm.a.count + vm.b.count > 0",
    },
    "times": {
        "vm.a.user": ["10us", {"lognormal": {"mean": "10us", "cv": 2.0}}, {"exponential": "10us"}],
        "vm.a.kernel": ["0ns", "1us"],
        "vm.a.hold": ["1us", {"gamma": {"mean": "2us", "cv": 0.5}}],
        "vm.b.handover": ["0ns", "100ns"],
        "vm.b.halt": [
            {"probability": 0.1, "time": "1ms"},
            {"probability": 0.5, "time": {"exponential": "1ms"}},
        ],
    },
    "ranges": {
        "vm.a.user.exponential": {"from": "1us", "to": "1ms", "scale": "log"},
        "host.context_switch": {"from": "1us", "to": "3us"},
        "policy.response": [{"kind": "none"}, YIELD],
    },
}


def study_of(name: str) -> fastlhp.Study:
    study = {**STUDY, "sweep": SWEEPS[name]}
    if name == "presets":
        study["policy"] = {}
    if name == "ranges":
        study["study"] = {**STUDY["study"], "design": {"kind": "sobol", "points": 16, "seed": 1}}
        study["vm"] = [{**STUDY["vm"][0], "user": {"exponential": "1us"}}, STUDY["vm"][1]]
    return fastlhp.load(study)


def read(address: int, dtype: np.dtype[Any], n: int = 1) -> np.ndarray[Any, Any]:
    memory = (ctypes.c_char * (n * dtype.itemsize)).from_address(address)
    return np.frombuffer(bytes(memory), dtype)


def of_distribution(address: int) -> dict[str, Any]:
    """What stands at the address of a distribution."""
    if not address:
        return {}
    record = read(address, state.DISTRIBUTION)[0]
    start = read(int(record["segments"]), np.dtype(np.int64), 8).tolist() if record["segments"] else []
    return {name: record[name].item() for name in ("kind", "value", "mean")} | {"segments": start}


def of_parameters(address: int, parameters: PolicyParameters) -> dict[str, Any]:
    """What stands at the address of a policy's parameters."""
    record = read(address, record_type(type(parameters)))[0]
    found: dict[str, Any] = {"kind": parameters.kind}
    for name in type(parameters).model_fields:
        value, number = getattr(parameters, name), int(record[name])
        if isinstance(value, Distribution):
            found[name] = of_distribution(number)
        elif isinstance(value, tuple):
            found[name] = read(number, np.dtype(np.float64), len(value)).tolist()
        else:
            found[name] = number
    return found


def described(address: int, configuration: Configuration) -> dict[str, Any]:
    """All that compiled code can see of a configuration, with what addresses lead to in their place."""
    record = read(address, state.CONFIG)[0]
    found: dict[str, Any] = {name: record[name].item() for name in state.CONFIG.names or ()}
    for name in ("context_switch", "vm_exit", "threshold"):
        found[name] = of_distribution(found[name])
    scheduler = configuration.scheduler
    for name, parameters in (
        ("scheduler", scheduler.base_policy()),
        ("overlay", scheduler),
        ("guard", configuration.guard),
        ("response", configuration.response),
    ):
        found[f"{name}_parameters"] = of_parameters(found[f"{name}_parameters"], parameters)
    vms = []
    for vm, spec in zip(
        read(found["vms"], state.VM_CONFIG, len(configuration.vms)), configuration.vms, strict=True
    ):
        its: dict[str, Any] = {name: vm[name].item() for name in state.VM_CONFIG.names or ()}
        for name in ("user", "kernel", "hold", "handover", "halt_time", "wakeup", "patience"):
            its[name] = of_distribution(its[name])
        its["lock_parameters"] = of_parameters(its["lock_parameters"], spec.lock)
        its["lock_bounds"] = read(its["lock_bounds"], np.dtype(np.int64), spec.lock.count).tolist()
        vms.append(its)
    return found | {"vms": vms}


@pytest.mark.parametrize("name", SWEEPS)
def test_together_as_alone(name: str) -> None:
    """Whatever is swept, in any order, with records that others have left behind."""
    study = study_of(name)
    n = study.n_configurations
    assert n > 3
    indices = np.random.default_rng(1).permutation(n)
    shared = Shared()
    for part in (indices, indices[: n // 2]):
        together = Encoding(study.configurations.parts(part), shared)
        assert len(together) == len(part)
        for at, index in enumerate(part.tolist()):
            configuration = study.configurations[index]
            alone = Encoded(configuration)
            found = described(int(together.address[at]), configuration)
            assert found == described(alone.address, configuration)
            for what in ("n_pcpu", "n_lock", "n_vcpu", "n_vm", "needs_choice", "warmup_ns"):
                assert getattr(together, what)[at] == getattr(alone, what), what


@pytest.mark.parametrize("name", SWEEPS)
def test_records_say_what_the_configuration_says(name: str) -> None:
    study = study_of(name)
    together = Encoding(study.configurations.parts(np.arange(study.n_configurations)))
    for address, it in zip(together.address.tolist(), study.configurations, strict=True):
        found = described(address, it)
        assert (found["n_pcpu"], found["n_vcpu"], found["n_vm"]) == (it.host.pcpus, it.n_vcpu, len(it.vms))
        assert found["window_end"] - found["window_start"] == it.duration_ns
        assert found["window_start"] == it.warmup_ns
        for family in ("scheduler", "guard", "response"):
            assert list(kinds(family))[found[family]] == getattr(it, family).kind
        for what in ("context_switch", "vm_exit"):  # none if it takes no time
            assert (found[what] or {"mean": 0})["mean"] == getattr(it.host, what).mean_ns
        assert found["weighted"] == (len({vm.weight for vm in it.vms}) > 1)
        n_vcpu = n_lock = 0
        for vm, spec in zip(found["vms"], it.vms, strict=True):
            assert (vm["first_vcpu"], vm["first_lock"]) == (n_vcpu, n_lock)
            n_vcpu, n_lock = n_vcpu + spec.vcpus, n_lock + spec.lock.count
            assert list(kinds("lock"))[vm["lock_kind"]] == spec.lock.kind
            for what in ("user", "kernel", "hold", "handover", "halt_time"):
                assert vm[what]["mean"] == getattr(spec, what).mean_ns
            assert (vm["n_vcpu"], vm["weight"]) == (spec.vcpus, spec.weight)
        assert found["n_lock"] == n_lock


def test_what_is_equal_is_there_once() -> None:
    """Ten configurations with one distribution have one record of it, and VMs that are alike are side by side once."""
    study = fastlhp.load({**STUDY, "sweep": {"host.vm_exit": [f"{i}us" for i in range(10)]}})
    together = Encoding(study.configurations.parts(np.arange(10)))
    records = [read(address, state.CONFIG)[0] for address in together.address.tolist()]
    assert len({int(record["context_switch"]) for record in records}) == 1
    assert len({int(record["vm_exit"]) for record in records}) == 10
    assert len({int(record["vms"]) for record in records}) == 1
