"""Polynomials fitted to configurations of a sampled design: which variance belongs to which parameters.

A polynomial chaos expansion [1]_: polynomials that are orthonormal over the values of the configurations, and products
of them, fitted by least squares. The squares of their coefficients are parts of the variance.

References
----------
.. [1] B. Sudret, "Global sensitivity analysis using polynomial chaos expansions", Reliability Engineering and System
   Safety 93, 2008.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Expansion", "expansion", "values_of_numbers"]

Array = npt.NDArray[Any]

_MOST_DEGREE, _MOST_TERMS = 10, 150
# Configurations for each term.
_FOR_EACH = 3
# Terms that differ by less are the same, as those of parameters that advance together.
_SAME = 1e-10


@dataclass(frozen=True, eq=False)
class Expansion:
    """The terms that are fitted.

    Attributes
    ----------
    terms : ndarray of float64, shape (configuration, term)
        Their values; the first is constant.
    of : ndarray of bool, shape (parameter, term)
        Which parameters a term is of.
    """

    terms: Array
    of: Array

    def fitted(self, values: Array, keep: Array) -> tuple[Array, Array, Array]:
        """Fit some of the configurations.

        Parameters
        ----------
        values : ndarray of float64, shape (configuration, replication)
            What is fitted.
        keep : ndarray of int64, shape (kept,)
            To which configurations.

        Returns
        -------
        coefficients : ndarray of float64, shape (term, replication)
        noise : ndarray of float64, shape (term,)
            Variance of each coefficient, as a share of the variance of the residuals.
        residuals : ndarray of float64, shape (kept, replication)
            Scaled, so that the sum of their squares is their variance.
        """
        terms, y = self.terms[keep], values[keep]
        inverse = _inverse(terms)
        coefficients = inverse @ (terms.T @ y)
        residuals = (y - terms @ coefficients) / np.sqrt(len(y) - terms.shape[1])
        return coefficients, np.diag(inverse), residuals


def values_of_numbers(x: Array) -> Array:
    """Return numbers as their mean ranks in -1 to 1, so that it does not matter whether an axis is logarithmic."""
    _, code, count = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((2 * np.cumsum(count) - count)[code] / len(x) - 1)


def expansion(columns: Sequence[Array], numbers: Sequence[bool], y: Array) -> Expansion | None:
    """Choose terms: all products up to the total degree that predicts best what is left out.

    Parameters
    ----------
    columns : sequence of ndarray, each of shape (configuration,)
        Of each parameter the values in -1 to 1, or the codes of what is no number.
    numbers : sequence of bool
        Whether a parameter is a number.
    y : ndarray of float64, shape (configuration,)
        What is predicted.

    Returns
    -------
    Expansion or None
        None if there are too few configurations for a term of each parameter.
    """
    most = min(_MOST_TERMS, len(y) // _FOR_EACH)
    blocks = [_orthonormal(x, number) for x, number in zip(columns, numbers, strict=True)]
    best, least = None, np.inf
    for degree in range(1, _MOST_DEGREE + 1):
        chosen = list(_products([len(block) for block in blocks], degree))
        if (
            sum(int(np.prod([blocks[i][d - 1].shape[1] for i, d in enumerate(c) if d])) for c in chosen)
            > most
        ):
            break
        terms, of = [], []
        for degrees in chosen:
            term = np.ones((len(y), 1))
            for i, d in enumerate(degrees):
                if d:
                    term = (term[:, :, None] * blocks[i][d - 1][:, None, :]).reshape(len(y), -1)
            terms.append(term)
            of += [[d > 0 for d in degrees]] * term.shape[1]
        tried = Expansion(np.concatenate(terms, axis=1), np.array(of).T)
        error = _left_out(tried.terms, y)
        if error < least:
            best, least = tried, error
    return best


def _orthonormal(x: Array, number: bool) -> list[Array]:
    """Return functions of a parameter, by degree: polynomials, or of what is no number all contrasts as degree 1."""
    levels, code = np.unique(x, return_inverse=True)
    if number:
        raw = np.polynomial.legendre.legvander(levels, min(len(levels) - 1, _MOST_DEGREE))
    else:
        raw = np.column_stack([np.ones(len(levels)), np.eye(len(levels))[:, 1:]])
    weight = np.sqrt(np.bincount(code) / len(x))
    q, _ = np.linalg.qr(raw * weight[:, None])
    functions = (q / weight[:, None])[code, 1:]
    if not number:
        return [functions] if functions.shape[1] else []
    return [functions[:, d : d + 1] for d in range(functions.shape[1])]


def _products(most: Sequence[int], degree: int) -> Iterator[tuple[int, ...]]:
    """Yield the degrees of all products of functions whose sum is at most `degree`, that of none first."""
    if not most:
        yield ()
        return
    for d in range(min(most[0], degree) + 1):
        for rest in _products(most[1:], degree - d):
            yield (d, *rest)


def _left_out(terms: Array, y: Array) -> float:
    """Return the mean square error of each configuration as predicted from all others."""
    inverse = _inverse(terms)
    leverage = np.sum(terms @ inverse * terms, axis=1)
    error = (y - terms @ (inverse @ (terms.T @ y))) / np.maximum(1 - leverage, 1e-9)
    return float(np.mean(error**2))


def _inverse(terms: Array) -> Array:
    """Return the inverse of the normal equations' matrix, which is close to a multiple of one."""
    return np.asarray(np.linalg.pinv(terms.T @ terms, rcond=_SAME, hermitian=True))
