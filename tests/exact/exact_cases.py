"""Small configurations for the exact solver: every supported policy, each with some shape of VMs and hosts.

Mean times are such that slices end in all phases often enough for every rate to be seen. The warm-up is long enough
for the slowest of them: yields with migration stack all siblings on one pCPU in the end, which takes a while.
"""

from __future__ import annotations

from itertools import product
from typing import Any

USER, HOLD, SLICE = "40us", "15us", "60us"


def exponential(mean: str) -> dict[str, str]:
    return {"exponential": mean}


def vm(vcpus: int, lock: str = "ticket", **more: Any) -> dict[str, Any]:
    given = {"count": more.pop("count_of_locks", 1), "weights": more.pop("weights", None)}
    return {
        "name": "vm",
        "vcpus": vcpus,
        "lock": {"kind": lock, **{key: value for key, value in given.items() if value is not None}},
        "user": exponential(USER),
        "hold": exponential(HOLD),
        **more,
    }


def study(
    pcpus: int,
    vms: list[dict[str, Any]],
    scheduler: dict[str, Any] | None = None,
    guard: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    **window: Any,
) -> dict[str, Any]:
    return {
        "study": {"name": "exact", "seed": 11, "duration": "20ms", "warmup": "30ms", **window},
        "host": {"pcpus": pcpus, "frequency": "1GHz"},
        "policy": {
            "scheduler": {"slice": exponential(SLICE), **(scheduler or {"kind": "round_robin"})},
            "guard": guard or {"kind": "none"},
            "response": response or {"kind": "none"},
        },
        "vm": [{**each, "name": f"vm{i}"} for i, each in enumerate(vms)],
    }


GUARDS: tuple[dict[str, Any], ...] = (
    {"kind": "none"},
    {"kind": "delay", "cap": exponential("20us")},
    {"kind": "extra_slice", "length": exponential("25us")},
)
RESPONSES: tuple[dict[str, Any], ...] = (
    {"kind": "none"},
    {"kind": "yield", "spin_threshold": exponential("12us")},
    *(
        {"kind": "directed_yield", "target": target, "spin_threshold": exponential("12us")}
        for target in ("holder", "random", "waiter")
    ),
)
HALT = {"probability": 0.3, "time": exponential("50us")}


def _guests(number: int, lock: str) -> list[dict[str, Any]]:
    """VMs of some shape; siblings share a pCPU in most of them."""
    return [
        [vm(3, lock), vm(1, lock, hold=exponential("25us"))],
        [vm(2, lock, weight=2.0), vm(2, lock, user=exponential("60us"))],
        [vm(3, lock, kernel=exponential("10us"), halt=HALT), vm(1, lock)],
        [vm(4, lock, count_of_locks=2, weights=[3.0, 1.0])],
        [vm(2, lock, halt=HALT, weight=3.0), vm(1, lock), vm(1, lock, weight=2.0)],
    ][number % 5]


def _cases() -> dict[str, dict[str, Any]]:
    cases = {}
    for number, (scheduler, lock, guard, response) in enumerate(
        product(("round_robin", "global"), ("test_and_set", "ticket"), GUARDS, RESPONSES)
    ):
        options: dict[str, Any] = {"kind": scheduler, "slice_after_yield": ("full", "rest")[number % 2]}
        reaction = dict(response)
        if scheduler == "round_robin":
            options["placement"] = ("spread", "aligned", "random", "balance")[number % 4]
            options["order"] = ("random", "vm")[number // 4 % 2]
        if response["kind"] == "directed_yield":
            reaction["boost_slice"] = ("rest", "full")[number % 2]
            reaction["migrate"] = number // 2 % 2 == 1
        # Five shapes of VMs and as many responses: the shapes shift from row to row.
        guests = _guests(number + number // 5, lock)
        what = response.get("target", response["kind"])
        name = f"{scheduler}-{lock}-{guard['kind']}-{what}"
        cases[name] = study(2, guests, options, dict(guard), reaction)
    for fill, lock, response in product((False, True), ("test_and_set", "queue"), RESPONSES[:2]):
        guests = [vm(2, lock, halt=HALT), vm(2, lock), vm(1, lock, weight=2.0), vm(1, lock)]
        name = f"gang{'-fill' if fill else ''}-{lock}-{response['kind']}"
        cases[name] = study(3, guests, {"kind": "gang", "fill": fill}, None, dict(response))
    cases["gang-1-slot"] = study(3, [vm(2), vm(1)], {"kind": "gang"})
    cases["no-overcommit"] = study(4, [vm(2), vm(2, "test_and_set")])
    cases["global-idle"] = study(3, [vm(2, halt=HALT), vm(2, halt=HALT)], {"kind": "global"})
    cases["three-pcpus"] = study(3, [vm(3, "ticket"), vm(2, "test_and_set")])
    return cases


CASES = _cases()

SMALL = (
    "round_robin-test_and_set-delay-yield",
    "round_robin-ticket-none-holder",
    "round_robin-ticket-extra_slice-none",
    "round_robin-ticket-none-random",
    "global-ticket-delay-none",
    "global-test_and_set-none-waiter",
    "gang-fill-test_and_set-none",
    "gang-queue-yield",
    "global-idle",
)
"""Those that every run of the tests compares; the others are for the night."""
