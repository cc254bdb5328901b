"""Machine code made for what a long run simulates, while it goes on; none where FASTLHP_TAILOR is 0."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from fastlhp.engine.block import Block, advance
from fastlhp.engine.encode import Encoding
from fastlhp.engine.machine_code import MachineCode
from fastlhp.engine.tailoring import MOST_KEPT, Facts
from fastlhp.model.study import Study
from fastlhp.run.speed import events_per_replication

__all__ = ["Tailor", "is_on", "tailor_for"]

AFTER_S = 5.0
"""How long this process has simulated with the same facts when code is made for them."""
LEAST_S = 60.0
"""How long a run has to go on for that. It takes three seconds of a CPU, and is worth 2 to 20 % of the time: most where
decisions of the hypervisor are frequent."""

LOOK_S = 2.0
"""How often one looks whether another process has made some."""

_SAMPLE = 4096
_EVENT_S = 1e-8  # about
_spent: dict[Facts, float] = {}
_tried: set[Facts] = set()
_is_free = threading.Lock()


def is_on() -> bool:
    """Return whether runs may have such code."""
    return os.environ.get("FASTLHP_TAILOR") != "0"


class Tailor:
    """Knows the code that is made for certain facts, and has more of it made; for several threads.

    Parameters
    ----------
    left_s : callable
        Returns how long the run goes on, in s; None if that is not known.
    """

    def __init__(self, left_s: Callable[[], float | None]) -> None:
        self._left_s = left_s
        self._is_on = is_on()
        self._look_again: dict[Facts, float] = {}

    def code(self, facts: Facts) -> MachineCode | None:
        """Return code that takes facts for granted, if there is any; also what another process has made, by and by."""
        now = time.monotonic()
        if not self._is_on or now < self._look_again.get(facts, 0.0):
            return None
        code = advance.tailored(facts)
        if code is None:
            self._look_again[facts] = now + LOOK_S
        return code

    def spend(self, facts: Facts, seconds: float) -> None:
        """Take notice of time that was spent without such code; it is made, in the background, if that pays."""
        if facts in _tried or not self._is_on:
            return
        spent = _spent[facts] = _spent.get(facts, 0.0) + seconds
        if spent > AFTER_S and (self._left_s() or 0.0) > LEAST_S and _is_free.acquire(blocking=False):
            threading.Thread(target=self._make, args=(facts,), name="fastlhp-tailor", daemon=True).start()

    def _make(self, facts: Facts) -> None:
        try:
            if facts not in _tried:  # another thread may have asked for the same
                _tried.add(facts)
                advance.tailor(facts)
                self._look_again.pop(facts, None)
        except Exception:
            pass  # the run goes on without; `tailor_for` says what is wrong
        finally:
            _is_free.release()


def tailor_for(
    study: Study, least_s: float = LEAST_S, report: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Make code for what a study will simulate, before it does.

    Blocks differ in what is known of their configurations; of studies with many configurations, those are considered in
    which some thousand are that are all over the study.

    Parameters
    ----------
    study : Study
        What will be run.
    least_s : float, optional
        Only for those kinds of blocks that take one thread about so long, in s.
    report : callable, optional
        Told how many are done, and how many there are.

    Returns
    -------
    tuple of int
        For how many kinds of blocks there is code now, and how many kinds there are.
    """
    from fastlhp.run.execute import compile_kernel, sizes_of

    compile_kernel()
    configurations = study.configurations
    sizes = sizes_of(configurations)
    n = len(sizes.shape)
    rooms = sizes.rooms(np.arange(n))
    sample = np.unique(np.linspace(0, n - 1, _SAMPLE).astype(np.int64))
    seconds = events_per_replication(configurations) * study.replications * n / len(sample) * _EVENT_S
    found: Counter[Facts] = Counter()
    for number, shape in enumerate(sizes.shapes):
        indices = sample[sizes.shape[sample] == number]
        if len(indices):
            block = Block(study.seed, **rooms[shape], choices=shape.choices)
            known = Encoding(configurations.parts(indices)).known
            for facts, its_s in zip(known.facts, np.bincount(known.which, seconds[indices]), strict=True):
                found[block.known(facts)] += its_s
    if not is_on():
        return 0, len(found)
    wanted = [facts for facts, its_s in found.most_common(MOST_KEPT) if its_s >= least_s]
    n_made = 0
    for done, facts in enumerate(wanted):
        if report:
            report(done, len(wanted))
        n_made += advance.tailor(facts) is not None
    return n_made, len(found)
