"""The machine-repairman queue in Cimba Python, run by an interpreter that has it.

    python cimba_model.py THREADS think_ns hold_ns duration_ns replications seed

One JSON line on stdout. An event is the end of a think or a hold time. A first run of two replications compiles; it is
not timed. Setting up the trials is, as a user sees it. fastlhp is not imported here: the two live in environments of
their own.
"""

import json
import sys
import time

import cimba as cb
import numpy as np
from cimba import inputs


def model(threads: int, think_ns: float, hold_ns: float) -> cb.Model:
    """Return the model, with exponential times in us."""

    class Repairman(cb.Model):  # type: ignore[misc]
        think: cb.Input[float] = inputs.dist.exponential(mean=think_ns / 1e3)
        hold: cb.Input[float] = inputs.dist.exponential(mean=hold_ns / 1e3)
        lock: cb.Resource
        acquired: cb.Output[float]
        ended: cb.Output[float]

        @cb.on_start  # type: ignore[untyped-decorator]
        def clear(self) -> None:
            self.acquired = 0.0
            self.ended = 0.0

        @cb.process(copies=threads)  # type: ignore[untyped-decorator]
        def thread(self) -> None:
            while True:
                cb.hold(self.think.next())
                self.ended += 1.0
                self.lock.acquire(1)
                self.acquired += 1.0
                cb.hold(self.hold.next())
                self.ended += 1.0
                self.lock.release(1)

    return Repairman()


def main() -> None:
    """Run the model and print what it gave."""
    threads, think_ns, hold_ns, duration_ns, replications, seed = (int(a) for a in sys.argv[1:])
    it = model(threads, think_ns, hold_ns)
    window = cb.Window(warmup=0, duration=duration_ns / 1e3)
    cb.Experiment(it, replications=2, window=window, seed=seed).run(workers=1)
    began = time.perf_counter()
    results = cb.Experiment(it, replications=replications, window=window, seed=seed).run(workers=1)
    seconds = time.perf_counter() - began
    rates = np.asarray(results[it].acquired).reshape(-1) / (duration_ns / 1e9)
    document = {
        "events": int(np.sum(results[it].ended)),
        "seconds": seconds,
        "throughput": float(rates.mean()),
        "throughput_standard_error": float(rates.std(ddof=1) / replications**0.5),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
