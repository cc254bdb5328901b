"""Studies in words: what is simulated, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastlhp.model.configuration import Configuration
from fastlhp.model.study import Study
from fastlhp.model.units import format_duration
from fastlhp.results.table import label_text

__all__ = ["different", "few_words", "plural", "what_is_simulated"]

_MOST_VALUES = 6
_MOST_CONFIGURATIONS = 300


def plural(count: int, what: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> plural(1, "replication"), plural(10_000, "configuration")
    ('1 replication', '10,000 configurations')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def what_is_simulated(study: Study) -> dict[str, dict[str, list[str]]]:
    """Describe hosts, VMs and policies of a study.

    Returns
    -------
    dict of str to dict of str to list of str
        For host, policy and each group of VMs the names of its properties, and the values that these have in
        the configurations; a few of very many. Times that are 0 are left out.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for index in _telling(study):
        for thing, properties in _properties(study.configurations[index]).items():
            for name, value in properties.items():
                found.setdefault(thing, {}).setdefault(name, {})[value] = None
    return {
        thing: {name: few_words(list(values)) for name, values in properties.items() if [*values] != ["0ns"]}
        for thing, properties in found.items()
    }


def _telling(study: Study) -> list[int]:
    """Return configurations in which together all swept values occur, or many of very many."""
    first: dict[tuple[str, Any], int] = {}
    for path, labels in study.coordinates.items():
        for index, value in enumerate(labels):
            first.setdefault((path, value), index)
    chosen = np.unique([0, *first.values()])
    if len(chosen) > _MOST_CONFIGURATIONS:
        chosen = chosen[np.linspace(0, len(chosen) - 1, _MOST_CONFIGURATIONS).astype(np.int64)]
    return [int(index) for index in chosen]


def _properties(configuration: Configuration) -> dict[str, dict[str, str]]:
    host = configuration.host
    things = {
        "Host": {
            "pCPUs": str(host.pcpus),
            "vCPUs per pCPU": f"{configuration.overcommit_ratio:.4g}",
            "clock": f"{host.frequency_hz / 1e9:g} GHz",
            "context switch": host.context_switch.describe(),
            "VM exit": host.vm_exit.describe(),
        },
        "Policy": {
            "scheduler": configuration.scheduler.describe(),
            "guard": configuration.guard.describe(),
            "response": configuration.response.describe(),
        },
    }
    for vm in configuration.vms:
        name = f"VMs {vm.group}"
        if name in things:
            things[name]["number"] = str(int(things[name]["number"]) + 1)
            continue
        things[name] = {
            "number": "1",
            "vCPUs of each": str(vm.vcpus),
            "weight": f"{vm.weight:g}",
            "lock": vm.lock.describe(),
            "user mode": vm.user.describe(),
            "kernel mode": vm.kernel.describe(),
            "critical section": vm.hold.describe(),
            "handover": vm.handover.describe(),
        }
        if vm.halt_probability:
            halt = f"after {100 * vm.halt_probability:g} % of the cycles, for {vm.halt_time.describe()}"
            things[name]["halts"] = halt
    things["Time"] = {
        "warm-up": format_duration(configuration.warmup_ns),
        "measured": format_duration(configuration.duration_ns),
    }
    return things


def few_words(values: Sequence[Any]) -> list[str]:
    """Return different values as people list them: numbers in one text, in order; others in a text each."""
    texts = [label_text(value) for value in values]
    more = len(texts) - _MOST_VALUES
    try:
        ordered = sorted(texts, key=float)
    except ValueError:
        return texts if more <= 0 else [*texts[:_MOST_VALUES], f"and {more} more"]
    return [", ".join(ordered) if more <= 0 else f"{ordered[0]} to {ordered[-1]} ({len(texts)} values)"]


def different(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the different labels of each swept path, as they first occur."""
    return {path: list(dict.fromkeys(labels)) for path, labels in columns.items()}
