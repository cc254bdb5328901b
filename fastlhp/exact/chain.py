"""From a configuration to its stationary distribution and what is measured in it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import LinearOperator, gmres, spilu, spsolve

from fastlhp.errors import FastlhpError
from fastlhp.exact.machine import HOST, State, System, TooManyStatesError
from fastlhp.model.configuration import Configuration
from fastlhp.results.counters import HOST_COUNTERS, HOST_INDEX, VM_COUNTERS, VM_INDEX

__all__ = ["Chain", "explore", "rates"]

Array = npt.NDArray[Any]

_DIRECT = 3000
_PRECISION = 1e-12


@dataclass
class Chain:
    """A continuous-time Markov chain with rewards.

    Attributes
    ----------
    start : ndarray of float64, shape (state,)
        Probability of each state at time 0.
    jumps : sparse matrix, shape (state, state)
        Rates per ns from row to column; nothing on the diagonal.
    rewards : sparse matrix, shape (state, reward)
        What is counted per ns in each state: first the counters of each VM, then those of the host.
    """

    start: Array
    jumps: Any
    rewards: Any

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self.start)


@dataclass
class _Entries:
    """Entries of a sparse matrix; equal places add up."""

    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, row: int, column: int, value: float) -> None:
        self.rows.append(row)
        self.columns.append(column)
        self.values.append(value)

    def matrix(self, n_rows: int, n_columns: int) -> Any:
        return sparse.csr_array((self.values, (self.rows, self.columns)), shape=(n_rows, n_columns))


def explore(configuration: Configuration, max_states: int) -> Chain:
    """Return the chain of a configuration: all states that can be reached, breadth first.

    Raises
    ------
    TooManyStatesError
        If there are more than `max_states`.
    """
    system = System(configuration, max_states)
    numbers: dict[State, int] = {}
    states: list[State] = []
    start: dict[int, float] = {}
    jumps, rewards = _Entries(), _Entries()
    n_vm = len(configuration.vms)

    def number(state: State) -> int:
        known = numbers.setdefault(state, len(states))
        if known == len(states):
            if known == max_states:
                raise TooManyStatesError
            states.append(state)
        return known

    def reward(row: int, counts: dict[tuple[int, str], float], rate: float) -> None:
        for (m, name), amount in counts.items():
            if amount:
                column = n_vm * len(VM_COUNTERS) + HOST_INDEX[name] if m == HOST else _column(m, name)
                rewards.add(row, column, rate * amount)

    for probability, state in system.starts():
        here = number(state)
        start[here] = start.get(here, 0.0) + probability
    for here, state in enumerate(states):
        machine = system.machine(state)
        for rate, happens in machine.events():
            after = system.machine(state)
            happens(after)
            there = number(after.frozen())
            if there != here:
                jumps.add(here, there, rate)
            reward(here, after.counts, rate)
        reward(here, machine.measure(), 1.0)
    first = np.zeros(len(states))
    first[list(start)] = list(start.values())
    return Chain(
        first,
        jumps.matrix(len(states), len(states)),
        rewards.matrix(len(states), n_vm * len(VM_COUNTERS) + len(HOST_COUNTERS)),
    )


def _column(m: int, name: str) -> int:
    return m * len(VM_COUNTERS) + VM_INDEX[name]


def rates(chain: Chain) -> Array:
    """Return what is counted per ns in equilibrium, shape (reward,).

    A chain that never forgets its start, such as pinned round robin with its orders, has several sets of
    states that it does not leave, each with an equilibrium of its own: these are averaged, weighted with the
    probability to end in each.
    """
    n_sets, set_of = csgraph.connected_components(chain.jumps, directed=True, connection="strong")
    moves = chain.jumps.tocoo()
    leaving = set_of[moves.row] != set_of[moves.col]
    is_closed = np.ones(n_sets, dtype=bool)
    is_closed[set_of[moves.row[leaving]]] = False
    into = chain.start.copy()
    passing = np.flatnonzero(~is_closed[set_of])
    if passing.size and chain.start[passing].any():
        # Time spent in each state that is left for good, and the jumps from there into those that are not.
        out = chain.jumps.sum(axis=1)
        inner = sparse.diags_array(out[passing]) - chain.jumps[passing][:, passing]
        time = np.atleast_1d(spsolve(inner.T.tocsc(), chain.start[passing]))
        into[passing] = 0.0
        into += np.where(is_closed[set_of], time @ chain.jumps[passing], 0.0)
    weights = np.bincount(set_of, into, n_sets)
    total = np.zeros(chain.rewards.shape[1])
    for closed in np.flatnonzero(weights > 0):
        members = np.flatnonzero(set_of == closed)
        pi = _stationary(chain.jumps[members][:, members])
        total += weights[closed] * (pi @ chain.rewards[members])
    return total


def _stationary(jumps: Any) -> Array:
    """Return the stationary distribution of an irreducible chain: pi Q = 0, sum(pi) = 1."""
    n = jumps.shape[0]
    if n == 1:
        return np.ones(1)
    out = jumps.sum(axis=1)
    # For the flow out of each state, pi * out: this has ones on the diagonal. If the first flow is 1, the other
    # equations have one solution; the first of them follows from the others.
    balance = (sparse.eye_array(n) - jumps.T @ sparse.diags_array(1 / out)).tocsc()
    flow = np.concatenate(([1.0], _solve(balance[1:, 1:], -balance[1:, [0]].toarray().ravel())))
    pi = flow / out
    return np.asarray(pi / pi.sum())


def _solve(matrix: Any, right: Array) -> Array:
    """Solve a sparse linear system; from some size on the factors fill up, so that iteration is faster."""
    if len(right) <= _DIRECT:
        return np.atleast_1d(spsolve(matrix, right))
    factors = spilu(matrix, drop_tol=1e-2, fill_factor=2)
    inverse = LinearOperator(matrix.shape, factors.solve)
    found, failed = gmres(matrix, right, M=inverse, rtol=_PRECISION, atol=0.0, restart=50, maxiter=100)
    if failed:
        raise FastlhpError(
            f"the equations of {len(right) + 1} states did not converge to a relative error of {_PRECISION:g}"
        )
    return np.asarray(found)
