"""Lock-holder preemptions too rare to be counted: their expected number, from what is not rare.

Conditional Monte Carlo [1]_. A count is replaced by its expectation given a part of what happened, which has the same
mean and less variance. Three laws give that expectation from counters that every run has anyway; ``docs/results.md``
derives them and says when they are exact. Configurations that none of them covers are refused, with the reason.

References
----------
.. [1] S. Asmussen and P. W. Glynn, *Stochastic Simulation*, Springer 2007, section V.4.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.estimates import estimate
from fastlhp.analysis.statistics import Sample
from fastlhp.results.metrics import NS, Metric, ratio
from fastlhp.results.results import Results, Summary

if TYPE_CHECKING:
    from fastlhp.model.configuration import Configuration
    from fastlhp.model.policy import PolicyParameters

__all__ = ["RareLhp", "law_of", "rare_lhp"]

Array = npt.NDArray[Any]
Law = Literal["extensions", "hold_time", "running_time"]

_SPINNING_LOCKS = ("test_and_set", "ticket", "queue", "preemptable_ticket")
"""Locks whose waiters never block nor look at the slice."""
_BLOCKING_LOCKS = ("pv_ticket", "pv_queue", "hybrid_queue")
_MOST_NAMED = 5
_OUTLASTED = 10.0
"""A warm-up of so many slices outlasts the first ones, but for a share of exp(-10) of them."""

_COUNTED = Metric(
    "lhp_per_acquisition",
    "1",
    "Lock-holder preemptions per acquisition",
    lambda c: ratio(c["lhp_events"], c["acquisitions"]),
    numerator=("lhp_events",),
    denominator=("acquisitions",),
    trials=("acquisitions", "preemptions"),
)


@dataclass(frozen=True, eq=False)
class RareLhp:
    """Lock-holder preemptions per acquisition, counted and expected.

    Attributes
    ----------
    counted : Summary
        Counted events over acquisitions.
    expected : Summary
        Their conditional expectation over acquisitions; NaN where no law holds.
    laws : list of str
        By which law, see `law_of`; empty where none holds.
    reasons : list of str
        Why none holds; empty where one does.
    events : ndarray of float64, shape (configuration, replication)
        The conditional expectation of ``lhp_events``.
    """

    counted: Summary
    expected: Summary
    laws: list[str]
    reasons: list[str]
    events: Array

    @property
    def gain(self) -> Summary:
        """How many times more replications the count needs for the same standard error; NaN if nothing was counted."""
        counted = np.where(self.counted.mean > 0, self.counted.standard_error, np.nan)
        gain = ratio(counted**2, self.expected.standard_error**2)
        unknown = np.full(len(gain), np.nan)
        return Summary(
            "gain", "1", self.expected.confidence, gain, unknown, unknown, unknown, self.expected.n
        )

    @property
    def refusals(self) -> list[str]:
        """Which configurations have no expected value, and why; one sentence for each reason."""
        by_reason: dict[str, list[str]] = {}
        for i, reason in enumerate(self.reasons):
            if reason:
                by_reason.setdefault(reason, []).append(f"#{i}")
        return [
            f"no expected value for {', '.join(which[:_MOST_NAMED])}"
            f"{f' and {len(which) - _MOST_NAMED} more' if len(which) > _MOST_NAMED else ''}: {reason}"
            for reason, which in by_reason.items()
        ]


def rare_lhp(results: Results, confidence: float = 0.95) -> RareLhp:
    """Estimate lock-holder preemptions per acquisition without waiting for one.

    Parameters
    ----------
    results : Results
        What a study gave.
    confidence : float, optional
        Probability that an interval covers the true value; in (0, 1).

    Returns
    -------
    RareLhp
        All arrays of shape (configuration, ...).

    Notes
    -----
    What is estimated is *events* per acquisition. `lhp_probability`, the share of acquisitions with at least one, is
    smaller by the acquisitions that are hit twice: relatively by about as much as the result itself.
    """
    from fastlhp.model.study import DICTIONARY, load  # not at the top: it is slow to import

    study = load(DICTIONARY, text=results.attributes.study)
    hold, extensions, preemptions = (
        np.asarray(results.vm(name), dtype=np.float64) for name in ("hold_time", "extensions", "preemptions")
    )
    running = hold + sum(np.asarray(results.vm(name)) for name in ("user_time", "kernel_time", "spin_time"))
    events = np.full(results["lhp_events"].shape, np.nan)
    laws: list[str] = []
    reasons: list[str] = []
    for i, configuration in enumerate(study.configurations):
        law, reason = law_of(configuration)
        laws.append(law)
        reasons.append(reason)
        n = len(configuration.vms)
        if law == "extensions":
            cap_ns = _parameter(configuration.guard, "cap").mean_ns
            missed = np.array([math.exp(-cap_ns / vm.hold.mean_ns) for vm in configuration.vms])
            each = extensions[i, :, :n] * missed
        elif law == "hold_time":
            each = hold[i, :, :n] * NS / _parameter(configuration.scheduler, "slice").mean_ns
        elif law == "running_time":
            each = preemptions[i, :, :n] * ratio(hold[i, :, :n], running[i, :, :n])
        else:
            continue
        events[i] = each.sum(axis=1)

    acquisitions = np.asarray(results["acquisitions"], dtype=np.float64)
    sample = Sample.of(events, acquisitions, where=acquisitions >= 0)
    low, high = sample.interval(confidence)
    name, low = "expected_lhp_per_acquisition", np.fmax(low, 0.0)
    expected = Summary(name, "1", confidence, sample.mean, sample.standard_error, low, high, sample.n)
    return RareLhp(estimate(_COUNTED, results.__getitem__, confidence), expected, laws, reasons, events)


def law_of(configuration: "Configuration") -> tuple[Law | Literal[""], str]:
    """Return by which law expected events follow, or why by none.

    Returns
    -------
    law : {"extensions", "hold_time", "running_time", ""}
        - extensions: guard ``delay`` with a constant cap and exponential hold times. The hold time that is left at a
          slice end is exponential again, so that an extension runs out with probability ``exp(-cap / hold)``.
        - hold_time: no guard, exponential slices. They end at a constant rate whatever the guests do, so that events
          are the time that holders run, divided by the mean slice.
        - running_time: no guard, VMs that do not notice that they are preempted: strictly co-scheduled ones, or of a
          single vCPU. A preemption meets a holder as often as holders run, measured in the VM's own time.
    reason : str
        What stands in the way, if no law holds.
    """
    guard = configuration.guard.kind
    law: Law
    if guard == "delay":
        law, reason = "extensions", _not_extensions(configuration)
    elif guard != "none":
        return "", f"guard {guard} (needed: none or delay)"
    else:
        law, reason = "running_time", _not_running_time(configuration)
        if reason and configuration.scheduler.kind != "gang":
            law, reason = "hold_time", _not_hold_time(configuration)
    return ("", reason) if reason else (law, "")


def _not_extensions(configuration: "Configuration") -> str:
    """Say why not every extension runs out with the same probability."""
    scheduler, cap = configuration.scheduler, _parameter(configuration.guard, "cap")
    if scheduler.kind not in ("round_robin", "global"):
        return f"scheduler {scheduler.kind}: slices end for other reasons too"
    if cap.kind != "constant" or cap.is_zero:
        return "the cap is not a constant above 0"
    if not all(vm.hold.kind == "exponential" for vm in configuration.vms):
        return "hold times are not exponential"
    # Otherwise nobody may be left in the queue at the cap, and the extension then harms nobody.
    if _parameter(configuration.response, "migrate"):
        return "directed_yield with migrate"
    if scheduler.kind == "global":
        return _may_block(configuration) or _some_alone(configuration)
    return ""


def _not_hold_time(configuration: "Configuration") -> str:
    """Say why not every instant of a running holder is as likely to be a slice's end."""
    scheduler, response = configuration.scheduler, configuration.response
    if scheduler.kind not in ("round_robin", "global"):
        return f"scheduler {scheduler.kind}: slices do not end independently of the guests"
    length = _parameter(scheduler, "slice")
    if length.kind != "exponential":
        return "slices are not exponential, and locks are shared by vCPUs that are preempted separately"
    starts_anew = _parameter(scheduler, "phase") == "aligned"
    if not starts_anew and configuration.warmup_ns < _OUTLASTED * length.mean_ns:
        return (
            f'the first slices are shorter (needed: a warm-up of {_OUTLASTED:g} slices or phase = "aligned")'
        )
    stays_or_moves = _parameter(response, "target") == "round_robin" or _parameter(response, "migrate")
    if response.kind not in ("none", "yield", "directed_yield") or stays_or_moves:
        return f"response {response.describe()}"
    return _may_block(configuration) or _not_spinning(configuration) or _some_alone(configuration)


def _not_running_time(configuration: "Configuration") -> str:
    """Say why a VM may notice that it was preempted, or a preemption have to do with what the VM does."""
    scheduler = configuration.scheduler
    if scheduler.kind == "gang":
        if _parameter(scheduler, "fill"):
            return "gang with fill runs vCPUs without their siblings"
        if not configuration.host.context_switch.is_zero:
            return "context switches that take time let siblings start one after another"
    elif scheduler.kind not in ("round_robin", "global"):
        return f"scheduler {scheduler.kind}: slices do not end independently of the guests"
    elif any(vm.vcpus > 1 for vm in configuration.vms):
        return "locks are shared by vCPUs that are preempted separately"
    if configuration.response.kind != "none":
        return f"response {configuration.response.kind}"
    for vm in configuration.vms:
        if all(time.kind == "constant" for time in (vm.user, vm.kernel, vm.hold)):
            return "constant times: a cycle may keep step with the slices"
    return _may_block(configuration) or _not_spinning(configuration)


def _may_block(configuration: "Configuration") -> str:
    if any(vm.halt_probability > 0 for vm in configuration.vms):
        return "guests that halt"
    if configuration.response.kind == "halt" or any(
        vm.lock.kind in _BLOCKING_LOCKS for vm in configuration.vms
    ):
        return "waiters that block"
    return ""


def _not_spinning(configuration: "Configuration") -> str:
    others = [vm.lock.kind for vm in configuration.vms if vm.lock.kind not in _SPINNING_LOCKS]
    return f"lock {others[0]}" if others else ""


def _some_alone(configuration: "Configuration") -> str:
    """Say whether a vCPU may be alone on its pCPU, so that its slices end unnoticed, while others are preempted."""
    pcpus, sizes = configuration.host.pcpus, [vm.vcpus for vm in configuration.vms]
    placement = _parameter(configuration.scheduler, "placement")
    if placement is None:
        return "" if sum(sizes) > pcpus else "every vCPU has a pCPU"
    if placement == "spread":
        homes = np.arange(sum(sizes)) % pcpus
    elif placement == "aligned":
        homes = np.concatenate([np.arange(size) % pcpus for size in sizes])
    else:
        return f"placement {placement}: how many share a pCPU is drawn"
    return "a vCPU that has a pCPU to itself" if np.any(np.bincount(homes) == 1) else ""


def _parameter(policy: "PolicyParameters", name: str) -> Any:
    """Return a parameter; None if the policy has none of that name."""
    return getattr(policy, name, None)
