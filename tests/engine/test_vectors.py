"""The vector passes are vector code: in the kernel's assembly they compare 256 or 512 bits at a time.

Nothing else would tell when a change of a pass, of Numba or of LLVM makes a loop scalar: results stay the same.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llvmlite import binding

from fastlhp.engine import block
from fastlhp.engine.jit import parts
from fastlhp.engine.state import HALF

numba = pytest.importorskip("numba")

CPUINFO = Path("/proc/cpuinfo")
HAS_AVX2 = CPUINFO.exists() and " avx2" in CPUINFO.read_text()
pytestmark = pytest.mark.skipif(not HAS_AVX2, reason="looks for AVX2 or AVX-512 instructions")

# Of each pass, vectors of lanes that are compared when there is one tile of rows and one of locks: the three of a
# tournament of four rows; those of the outcome, and one for each row and lock that may be stored.
COMPARISONS = 2 * 3 + 2 * (9 + 4 + 4)
"""All of them, with and without choices, for LLVM makes the passes part of `advance`."""

COMPARE = re.compile(r"^\s*vpcmp(?:eq|gt|n?l[te]|neq)?u?[bdwq]\b.*%[yz]mm", re.MULTILINE)
# LLVM blends in several ways: blends, masks that it combines by logic, masked loads and stores; AVX-512 masks anything.
CHOICE = re.compile(
    r"^\s*(?:(?:vpblend|vblend|vpandn|vandn|vpmaskmov|vmaskmov)\w*\b.*%[yz]mm|v\w+\s.*%[yz]mm\d+ ?\{%k)",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def library() -> Any:
    """The kernel, compiled anew."""
    return block.advance.compile().library


@pytest.fixture(scope="module")
def kernel_functions(library: Any) -> dict[str, str]:
    """Assembly of the functions of the kernel, compiled as a whole, by mangled name.

    The whole kernel, because what LLVM vectorises in a pass compiled alone, it may leave scalar in there.
    """
    text = library.get_asm_str()
    starts = [(m.group(1), m.end()) for m in re.finditer(r"^(_ZN\w+):", text, re.MULTILINE)]
    ends = [start for _, start in starts[1:]] + [len(text)]
    return {name: text[start:end] for (name, start), end in zip(starts, ends, strict=True)}


def test_passes_are_vectorised(kernel_functions: dict[str, str]) -> None:
    """The passes compare and select in whole vectors."""
    texts = [text for symbol, text in kernel_functions.items() if "block7advance" in symbol]
    assert max(len(COMPARE.findall(text)) for text in texts) >= COMPARISONS
    assert max(len(CHOICE.findall(text)) for text in texts) >= COMPARISONS


def global_symbols(code: bytes) -> tuple[set[bytes], set[bytes]]:
    """Names of the functions of an ELF object file that it calls but does not have, and of those that others can call.

    https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.symtab.html
    """
    sections = {s.name(): s.data() for s in binding.ObjectFileRef.from_data(code).sections()}
    undefined, functions = set(), set()
    for name, info, _, section, _, _ in struct.iter_unpack("<IBBHQQ", sections[b".symtab"]):
        text = sections[b".strtab"][name:].partition(b"\0")[0]
        is_global, is_function = info >> 4 != 0, info & 15 == 2
        if text and is_global and section == 0:
            undefined.add(text)
        elif is_global and is_function:
            functions.add(text)
    return undefined, functions


def test_kernel_is_alone(library: Any) -> None:
    """The kernel calls nothing that it does not bring along: it allocates no memory and raises nothing."""
    assert len(library.machine_code) == 1 + len(parts)
    undefined, defined = map(set.union, *map(global_symbols, library.machine_code))
    assert undefined == {name for name in defined if b"7control6handle" in name}


def test_no_masked_stores(kernel_functions: dict[str, str]) -> None:
    """The passes store whole vectors: stores under a mask take a dozen cycles on some processors."""
    stores = re.compile(r"^\s*vp?maskmov\w*\s+%ymm\d+, %ymm\d+, .*\(", re.MULTILINE)
    assert not [symbol for symbol, text in kernel_functions.items() if stores.search(text)]


def test_draws_are_in_vectors(kernel_functions: dict[str, str]) -> None:
    """Philox multiplies whole vectors by one instruction each, where LLVM might take three."""
    multiply = re.compile(r"^\s*vpmuludq\s.*%[yz]mm", re.MULTILINE)
    rounds, widest = 10, 8
    least = rounds * HALF // widest
    texts = [text for symbol, text in kernel_functions.items() if "draw_" in symbol]
    counts = [n for text in texts if (n := len(multiply.findall(text)))]
    assert counts
    assert all(n % rounds == 0 and least <= n <= 2 * least for n in counts)


# Numba's own allocators and those of C; NRT_decref is what its wrappers do to the arrays that they were given.
ALLOCATION = re.compile(r"\b(?:NRT_MemInfo_(?:new|alloc)\w*|NRT_(?:Re)?[Aa]llocate\w*|[mc]alloc|realloc)\b")


def test_nothing_is_allocated(kernel_functions: dict[str, str]) -> None:
    """A block is all the memory that a kernel has."""
    assert not {name: found for name, text in kernel_functions.items() if (found := ALLOCATION.findall(text))}


def test_an_allocation_is_seen() -> None:
    """The pattern finds what it looks for in a function that makes an array."""
    dispatcher = numba.njit(error_model="numpy")(lambda n: np.zeros(n, dtype=np.int32).sum())
    dispatcher.compile((numba.int64,))
    assert ALLOCATION.search("\n".join(dispatcher.inspect_asm().values()))


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
    dispatcher = numba.njit(error_model="numpy")(recurrence)
    dispatcher.compile((numba.int32[::1],))
    text = "\n".join(dispatcher.inspect_asm().values())
    assert not COMPARE.search(text)
    assert not CHOICE.search(text)
