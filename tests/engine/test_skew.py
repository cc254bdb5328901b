"""VMware's own example of skew: of four vCPUs v2 runs for 2T and then v3 for T, v0 and v1 never.

ESX 3 finds a skew of 3T for v0 and v1, though nobody is ahead of another by more than 2T, which is what ESX 4 finds.
"""

from __future__ import annotations

from typing import Any

import naive
import pytest
from cases import differences

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.model.configuration import Configuration
from fastlhp.model.study import load
from fastlhp.results.counters import VM_INDEX

T = 1000
AFTER = 10  # ns after the 3T of the example


def example(variant: str, threshold: int) -> tuple[Configuration, int]:
    """Describe it on three pCPUs. The seed puts b twice on p0 and p1, v0 and v1 behind it, v2 and v3 on p2."""
    vm: dict[str, Any] = {"lock": {"kind": "ticket"}, "vcpus": 4, "user": "1ms", "hold": "1us"}
    study = load(
        {
            "study": {"name": "skew", "seed": 3662, "duration": f"{3 * T + AFTER}ns", "replications": 1},
            "host": {"pcpus": 3, "frequency": "1GHz"},
            "policy": {
                "scheduler": {
                    "kind": "relaxed_coscheduling",
                    "variant": variant,
                    "skew_threshold": f"{threshold}ns",
                    "slice": f"{2 * T}ns",
                    "placement": "random",
                    "order": "vm",
                    "phase": "aligned",
                }
            },
            "vm": [{"name": "b", **vm}, {"name": "v", **vm}],
        }
    )
    return study.configurations[0], study.seed


@pytest.mark.parametrize(("variant", "skew"), [("esx3", [3 * T, 3 * T, T, T]), ("esx4", [0, 0, 2 * T, T])])
def test_skew(variant: str, skew: list[int]) -> None:
    """Skew under esx3, progress under esx4, when 3T have passed."""
    configuration, seed = example(variant, 10 * T)
    host = naive.Host(configuration, seed, 0)
    host.end = 3 * T
    host.outcome = lambda: None  # its accounts are not those of the whole window
    host.run()
    assert [v.skew for v in host.vms[1].vcpus] == skew
    if variant == "esx4":
        assert max(skew) - min(skew) == 2 * T


@pytest.mark.parametrize(
    ("variant", "threshold", "costop_ns"),
    [
        # All four from the instant at which v0's skew is above the threshold.
        ("esx3", 3 * T - 1, 4 * AFTER),
        ("esx3", 3 * T, 4 * (AFTER - 1)),
        # v2 alone, from 2T on.
        ("esx4", 2 * T - 1, T + AFTER),
        ("esx4", 2 * T, 0),
    ],
)
def test_co_stop(variant: str, threshold: int, costop_ns: int) -> None:
    """The threshold acts at the exact skew, in the engine as in the twin."""
    configuration, seed = example(variant, threshold)
    vm, _, _ = block.simulate(Encoded(configuration), seed, range(1))
    assert vm[0, 1, VM_INDEX["costop_ns"]] == costop_ns
    assert differences(configuration, seed, 1) == []
