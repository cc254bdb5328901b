"""Small configurations with exponential times, which the exact solver answers without simulating.

Every rate and time average must meet that of the Markov chain. The cases are chosen so that each scheduler, guard,
response and lock that the solver knows occurs; the tests compare many more of them.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fastlhp.validation.checks import Case, Check, check

if TYPE_CHECKING:
    from fastlhp.results.results import Results

__all__ = ["ALLOWED", "TITLE", "cases"]

TITLE = "exact Markov chains"
ALLOWED = 0

COMPARED = (
    "throughput",
    "lhp_events",
    "lwp_events",
    "preemptions",
    "yields",
    "spin_contention",
    "spin_lhp",
    "spin_lwp",
    "idle_time",
    "wait_mean",
)
"""Rates, counts and time averages that together say whether the right things happen; the tests compare all."""


def _exponential(mean: str) -> dict[str, str]:
    return {"exponential": mean}


_THRESHOLD = _exponential("12us")
_PINNED = {"kind": "round_robin", "slice": _exponential("60us")}
_GLOBAL = {"kind": "global", "slice": _exponential("60us")}
_GANG = {"kind": "gang", "slice": _exponential("60us")}
_DELAY = {"kind": "delay", "cap": _exponential("20us")}
_YIELD = {"kind": "yield", "spin_threshold": _THRESHOLD}
_TO_HOLDER = {
    "kind": "directed_yield",
    "target": "holder",
    "spin_threshold": _THRESHOLD,
    "boost_slice": "full",
}
_NONE = {"kind": "none"}

_CASES: tuple[tuple[str, int, tuple[int, ...], str, dict[str, Any], dict[str, Any], dict[str, Any]], ...] = (
    ("pinned, ticket", 2, (2, 2), "ticket", _PINNED, _NONE, _NONE),
    ("pinned, test_and_set", 2, (2, 2), "test_and_set", _PINNED, _NONE, _NONE),
    ("pinned, ticket, delay", 2, (2, 2), "ticket", _PINNED, _DELAY, _NONE),
    ("pinned, ticket, yield", 2, (2, 2), "ticket", _PINNED, _NONE, _YIELD),
    ("global, ticket", 2, (3,), "ticket", _GLOBAL, _NONE, _NONE),
    ("global, test_and_set, delay, yield", 2, (2, 1), "test_and_set", _GLOBAL, _DELAY, _YIELD),
    ("global, ticket, directed yield to the holder", 2, (3,), "ticket", _GLOBAL, _NONE, _TO_HOLDER),
    ("gang, ticket", 2, (2, 2), "ticket", _GANG, _NONE, _NONE),
)


def cases(quick: bool) -> Iterator[Case]:
    """Yield the cases."""
    for name, pcpus, vms, lock, scheduler, guard, response in _CASES:
        study = {
            "study": {
                "name": "chain",
                "seed": 13,
                "duration": "20ms",
                "warmup": "20ms",
                "replications": 256 if quick else 2048,
            },
            "host": {"pcpus": pcpus, "frequency": "1GHz"},
            "policy": {"scheduler": scheduler, "guard": guard, "response": response},
            "vm": [
                {
                    "name": f"vm{m}",
                    "vcpus": vcpus,
                    "lock": {"kind": lock},
                    "user": _exponential("40us"),
                    "hold": _exponential("15us"),
                }
                for m, vcpus in enumerate(vms)
            ],
        }
        yield Case(name, partial(_judge, study), [study])


def _judge(study: dict[str, Any], results: "Results") -> Iterator[Check]:
    import fastlhp
    from fastlhp.results.metrics import METRICS

    theory = fastlhp.exact(study)
    for metric in COMPARED:
        summary = results.summary(metric)
        found = float(summary.mean[0]), float(summary.standard_error[0])
        unit = METRICS[metric].units
        label = f"{metric} [{unit}]" if unit not in ("", "1") else metric
        if not math.isfinite(found[1]):
            found = found[0], 0.0
        yield check(label, found, (float(theory[metric][0]), 0.0), absolute=1e-9)
