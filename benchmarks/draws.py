"""What an event would cost if it were nothing but its draw: one exponential duration, Philox and logarithm included."""

import time

import numpy as np

from fastlhp.engine.draws import draw_cycles
from fastlhp.engine.jit import kernel
from fastlhp.engine.state import HALF


@kernel
def draw(address, variates, n):
    """Draw n times HALF cycles, of two durations each."""
    total = np.int64(0)
    for i in range(n):
        first = np.int64(i * HALF)
        key, zero = np.uint64(7), np.int32(0)
        held, _, _ = draw_cycles(
            address, variates, first, np.uint64(1), key, np.float32(1e3), np.float32(1e4), zero, zero
        )
        total += held
    return total


def main() -> None:
    """Print the best of a few rounds."""
    memory = np.zeros((2, 2 * HALF + 16), np.int32)
    addresses = [np.int64(row.ctypes.data + -row.ctypes.data % 64) for row in memory]
    n, best = 200_000, np.inf
    draw(*addresses, 1)
    for _ in range(20):
        began = time.perf_counter()
        total = draw(*addresses, n)
        best = min(best, time.perf_counter() - began)
    assert abs(total / (n * HALF) / 1e3 - 1) < 0.01
    print(f"{1e9 * best / (2 * HALF * n):.3f} ns per duration")


if __name__ == "__main__":
    main()
