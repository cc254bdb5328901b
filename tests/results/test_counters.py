import numpy as np

from fastlhp.results.counters import (
    HOST_COUNTERS,
    MAXIMA,
    N_BINS,
    VM_COUNTERS,
    VM_INDEX,
    bin_edges_ns,
    bin_of,
)


def bin_by_definition(x):
    """Bin of one time, as docs/semantics.md defines it, in Python's integers."""
    if x == 0:
        return 0
    octave = x.bit_length() - 1
    return min(16 * octave + (((x << 4) >> octave) & 15), N_BINS - 1)


def test_names_are_unique_and_indexed():
    assert len(set(VM_COUNTERS)) == len(VM_COUNTERS) == 37
    assert not set(VM_COUNTERS) & set(HOST_COUNTERS)
    assert [VM_INDEX[name] for name in VM_COUNTERS] == list(range(len(VM_COUNTERS)))
    assert {name for name in VM_COUNTERS if "max" in name} == MAXIMA


def test_bins_follow_the_definition():
    rng = np.random.default_rng(1)
    times = [*range(5000), *(2**k + d for k in range(2, 62) for d in (-1, 0, 1)), 2**63 - 1]
    times += [int(x) for x in np.exp(rng.uniform(0, 43, 2000))]
    assert bin_of(times).tolist() == [bin_by_definition(x) for x in times]
    assert bin_of(np.array(17)).shape == ()


def test_edges_enclose_their_bins():
    edges = bin_edges_ns()
    assert edges.shape == (N_BINS + 1,)
    assert edges[0] == 1 and edges[16] == 2 and edges[-1] == 2.0**44
    assert np.all(np.diff(edges) > 0)
    times = np.arange(1, 100_000)
    bins = bin_of(times)
    assert np.all(edges[bins] <= times) and np.all(times < edges[bins + 1])
