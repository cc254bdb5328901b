"""Which configurations can be solved exactly, and what to say about the others."""

from collections.abc import Iterator
from typing import Any

from fastlhp.model.configuration import Configuration
from fastlhp.model.distributions import Distribution, Exponential
from fastlhp.model.policy import PolicyParameters
from fastlhp.model.validation import Mistake, Written, one_of

__all__ = ["mistakes"]

_EXPONENTIAL = 'an exponential time such as { exponential = "10us" }'

_KNOWN: dict[str, dict[str, frozenset[str]]] = {
    "scheduler": {
        "round_robin": frozenset({"slice", "placement", "order", "phase", "slice_after_yield"}),
        "global": frozenset({"slice", "order", "phase", "slice_after_yield"}),
        "gang": frozenset({"slice", "fill", "phase"}),
    },
    "guard": {
        "none": frozenset(),
        "delay": frozenset({"cap", "repay"}),
        "extra_slice": frozenset({"length"}),
    },
    "response": {
        "none": frozenset(),
        "yield": frozenset({"spin_threshold"}),
        "directed_yield": frozenset({"spin_threshold", "target", "migrate", "boost_slice"}),
    },
    "lock": {kind: frozenset({"count", "weights"}) for kind in ("test_and_set", "ticket", "queue")},
}
"""The policies that are modelled, and their parameters that are."""

_VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("round_robin", "placement"): ("spread", "aligned", "random", "balance"),
    ("round_robin", "order"): ("random", "vm"),
    ("global", "order"): ("random", "vm"),
    ("directed_yield", "target"): ("holder", "random", "waiter"),
}
"""The values of a parameter that are modelled, where there are more or may come to be."""


def mistakes(configuration: Configuration) -> Iterator[Mistake]:
    """Yield what cannot be solved, with paths as in the study file."""
    host = configuration.host
    for name in ("context_switch", "vm_exit"):
        yield from _zero(("host", name), getattr(host, name), "no cost")
    for family in ("scheduler", "guard", "response"):
        yield from _policy(("policy", family), getattr(configuration, family))
    # VMs of a group are equal, and so are their mistakes.
    for group, vm in {vm.group: vm for vm in configuration.vms}.items():
        yield from _policy(("vm", group, "lock"), vm.lock)
        yield from _exponential(("vm", group, "user"), vm.user)
        if not vm.kernel.is_zero:
            yield from _exponential(("vm", group, "kernel"), vm.kernel, ' or "0ns"')
        yield from _exponential(("vm", group, "hold"), vm.hold)
        yield from _zero(("vm", group, "handover"), vm.handover, "none")
        if vm.halt_probability > 0:
            yield from _exponential(("vm", group, "halt", "time"), vm.halt_time)


def _exponential(path: tuple[str, ...], time: Distribution, also: str = "") -> Iterator[Mistake]:
    if not isinstance(time, Exponential):
        yield Mistake(path, Written(time.describe()), f"{_EXPONENTIAL}{also}, to be solved exactly")


def _zero(path: tuple[str, ...], time: Distribution, what: str) -> Iterator[Mistake]:
    if not time.is_zero:
        yield Mistake(path, Written(time.describe()), f'"0ns" ({what}), to be solved exactly')


def _policy(path: tuple[str, ...], policy: PolicyParameters) -> Iterator[Mistake]:
    kinds = _KNOWN[policy.FAMILY]
    if policy.kind not in kinds:
        yield Mistake((*path, "kind"), policy.kind, f"{one_of(kinds)}, to be solved exactly")
        return
    unused: PolicyParameters | None = None
    for name in type(policy).model_fields:
        value: Any = getattr(policy, name)
        accepted = _VALUES.get((policy.kind, name))
        if name in kinds[policy.kind]:
            if isinstance(value, Distribution):
                yield from _exponential((*path, name), value)
            elif accepted is not None and value not in accepted:
                yield Mistake((*path, name), value, f"{one_of(accepted)}, to be solved exactly")
            elif name == "repay" and value:
                yield Mistake(
                    (*path, name), value, "false, to be solved exactly: what is owed is no exponential"
                )
        else:
            unused = unused or type(policy)()
            if value != getattr(unused, name):
                yield Mistake((*path, name), value, "its default, to be solved exactly")
