"""The vector passes are vector code: their assembly compares 256 or 512 bits at a time.

Nothing else would tell when a change of a pass, of Numba or of LLVM makes a loop scalar: results stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlhp.engine import passes
from fastlhp.engine.jit import OPTIONS
from fastlhp.engine.linking import flat

numba = pytest.importorskip("numba")

CPUINFO = Path("/proc/cpuinfo")
HAS_AVX2 = CPUINFO.exists() and " avx2" in CPUINFO.read_text()
pytestmark = pytest.mark.skipif(not HAS_AVX2, reason="looks for AVX2 or AVX-512 instructions")

ARRAY = numba.int32[::1]
COUNT = numba.uint64
NUMBER = numba.int32
# Without the passes that only gather: these have nothing to compare.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "next_event": (ARRAY, ARRAY, COUNT, NUMBER),
    "words_of": (ARRAY, ARRAY, COUNT),
    "decide": (ARRAY, NUMBER, NUMBER),
    "decide_all": (ARRAY, NUMBER, NUMBER),
    "store_rows": (ARRAY, ARRAY, COUNT, NUMBER),
    "store_words": (ARRAY, ARRAY, COUNT, NUMBER),
}

COMPARE = re.compile(r"^\s*vpcmp(?:eq|gt|n?l[te]|neq)?u?[bdwq]\b.*%[yz]mm", re.MULTILINE)
# LLVM blends in several ways: blends, masks that it combines by logic, masked loads and stores; AVX-512 masks anything.
CHOICE = re.compile(
    r"^\s*(?:(?:vpblend|vblend|vpandn|vandn|vpmaskmov|vmaskmov)\w*\b.*%[yz]mm|v\w+\s.*%[yz]mm\d+ ?\{%k)",
    re.MULTILINE,
)


def assembly(function: Callable[..., Any], signature: tuple[Any, ...]) -> str:
    """Assembly of a function compiled by itself, but with the engine's options and linked as the engine links."""
    passes.select.template()  # teaches Numba what a function of this package in a function's globals is
    dispatcher = numba.njit(**OPTIONS)(function)
    with flat(function.__qualname__):
        dispatcher.compile(signature)
    return "\n".join(dispatcher.inspect_asm().values())


@pytest.mark.parametrize("name", SIGNATURES)
def test_pass_is_vectorised(name: str) -> None:
    """A pass compiled alone compares and selects in whole vectors."""
    text = assembly(getattr(passes, name).function, SIGNATURES[name])
    assert COMPARE.search(text)
    assert CHOICE.search(text)


def recurrence(values: Any) -> Any:
    """A loop in which every step needs the one before: no compiler can vectorise it."""
    x = np.int32(1)
    for i in range(values.size):
        if x > values[i]:
            x = np.int32(x * 3 + values[i])
        else:
            x = np.int32((x >> 1) ^ values[i])
        values[i] = x
    return x


def test_scalar_loop_is_seen_as_scalar() -> None:
    """The patterns find nothing in a loop that is not vectorised."""
    text = assembly(recurrence, (ARRAY,))
    assert not COMPARE.search(text)
    assert not CHOICE.search(text)
