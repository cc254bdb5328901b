"""Memory of a block in one piece."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

HUGE_PAGE = 2 * 1024 * 1024
LINE = 64


def allocate(layout: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> dict[str, NDArray[Any]]:
    """Zeroed arrays in one mapping, each at the start of a cache line.

    Large pages are asked for, where the system has them: scalar code jumps about in a block, and with small pages
    every other jump would need another entry of the processor's page table cache.

    Parameters
    ----------
    layout : mapping of str to (shape, dtype)
        The arrays.

    Returns
    -------
    dict of str to ndarray
        They keep the mapping alive.
    """
    sizes = {name: int(np.prod(shape)) * np.dtype(dtype).itemsize for name, (shape, dtype) in layout.items()}
    total = sum(-(-size // LINE) * LINE for size in sizes.values())
    memory = mmap.mmap(-1, -(-total // HUGE_PAGE) * HUGE_PAGE + HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # the system has none
    whole = np.frombuffer(memory, np.uint8)
    start = -whole.ctypes.data % HUGE_PAGE
    arrays = {}
    for name, (shape, dtype) in layout.items():
        arrays[name] = whole[start : start + sizes[name]].view(dtype).reshape(shape)
        start += -(-sizes[name] // LINE) * LINE
    return arrays
