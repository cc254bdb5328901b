"""How compiled code reads the parameters of a policy: a record made from the fields of its parameter class."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np

from fastlhp.engine.jit import RecordView
from fastlhp.model.policy import PolicyParameters

RANDOM_PHASE, ALIGNED_PHASE = 0, 1


def record_type(parameters: type[PolicyParameters]) -> np.dtype[Any]:
    """Record of a policy's parameters: one int64 a field, in the order of the class.

    A distribution is the address of its `DISTRIBUTION`, a truth value 0 or 1, one of several words its position
    among them, a list of phases the address of its float64 values, and what is not given 0. The last field has the name
    of the record: so no two policies have the same fields.
    """
    return np.dtype([(name, np.int64) for name in (*parameters.model_fields, record_name(parameters))])


def record_name(parameters: type[PolicyParameters]) -> str:
    """What the records of a policy's parameters are called."""
    return f"{parameters.__module__}.{parameters.__name__}"


def view(parameters: type[PolicyParameters]) -> RecordView:
    """Accessor of a policy's parameters for device functions: ``view(address, 0).name``."""
    return RecordView(record_name(parameters), record_type(parameters), parameters.model_fields)


def option(parameters: type[PolicyParameters], field: str, word: str) -> int:
    """Number by which compiled code knows one of the words that a field accepts."""
    return words_of(parameters, field).index(word)


def words_of(parameters: type[PolicyParameters], field: str) -> tuple[str, ...]:
    """The words that a field accepts, in order."""
    return typing.get_args(parameters.model_fields[field].annotation)
