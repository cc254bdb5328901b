"""What a validation consists of: cases that are run, and checks that say whether prediction meets reference."""

import importlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastlhp.run.progress import Progress
from fastlhp.validation import PARTS

if TYPE_CHECKING:
    from types import ModuleType

    from fastlhp.results.results import Results

__all__ = ["LIMIT", "Case", "Check", "Part", "check", "not_compared", "validate"]

LIMIT = 4.0
"""Standard errors by which a prediction may differ from its reference: exceeded once in 16 000 checks by chance."""


@dataclass(frozen=True)
class Check:
    """A prediction beside its reference.

    Attributes
    ----------
    quantity : str
        What is compared, with its unit.
    predicted, predicted_error : float
        What fastlhp says and its standard error.
    reference, reference_error : float
        What it is compared with and its standard error; NaN where the reference is a bound only.
    low, high : float
        The prediction agrees if it lies in between, ends included.
    note : str
        Why a check misses, or is not made at all.
    """

    quantity: str
    predicted: float
    predicted_error: float
    reference: float
    reference_error: float
    low: float
    high: float
    note: str = ""

    @property
    def is_compared(self) -> bool:
        """Whether there is anything to compare."""
        return not math.isnan(self.low)

    @property
    def agrees(self) -> bool:
        """Whether the prediction lies within its bounds; what is not compared does not disagree."""
        return not self.is_compared or self.low <= self.predicted <= self.high

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return "not compared" if not self.is_compared else "agrees" if self.agrees else "MISSES"


def check(
    quantity: str,
    predicted: tuple[float, float],
    reference: tuple[float, float],
    *,
    relative: float = 0.0,
    absolute: float = 0.0,
    cause: str = "",
) -> Check:
    """Return a check of two estimates.

    Parameters
    ----------
    quantity : str
        What is compared, with its unit.
    predicted, reference : tuple of float
        Value and standard error of each.
    relative, absolute : float, optional
        The difference that is allowed in any case, as a share of the reference and as such. Allowed is the widest of
        these and of `LIMIT` standard errors of the difference.
    cause : str, optional
        The likely cause, should it miss.
    """
    value, error = reference
    allowed = max(relative * abs(value), absolute, LIMIT * math.hypot(predicted[1], error))
    made = Check(quantity, *predicted, value, error, value - allowed, value + allowed)
    return made if made.agrees else Check(**{**made.__dict__, "note": cause})


def not_compared(
    quantity: str,
    reason: str,
    predicted: tuple[float, float] = (math.nan, math.nan),
    reference: float = math.nan,
) -> Check:
    """Return a check that is not made, and why; prediction and reference may be shown all the same."""
    return Check(quantity, *predicted, reference, 0.0, math.nan, math.nan, reason)


@dataclass(frozen=True)
class Case:
    """Studies, and what is checked of their results.

    Attributes
    ----------
    name : str
        What is simulated, in a few words.
    judge : callable
        Gets the results of each study and returns the checks.
    studies : sequence of mapping
        The studies; none, if the case only says why there is nothing to compare.
    """

    name: str
    judge: Callable[..., Iterable[Check]]
    studies: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Part:
    """The outcome of a part.

    Attributes
    ----------
    letter, title : str
        Its letter, and what its predictions are compared with.
    allowed : int
        How many cases may miss.
    outcomes : list of tuple of str and list of Check
        The name of each case and its checks.
    """

    letter: str
    title: str
    allowed: int
    outcomes: list[tuple[str, list[Check]]]

    @property
    def missed(self) -> list[str]:
        """Names of the cases that miss in at least one check."""
        return [name for name, checks in self.outcomes if not all(made.agrees for made in checks)]

    @property
    def passes(self) -> bool:
        """Whether not more cases miss than may."""
        return len(self.missed) <= self.allowed


def validate(
    letters: Sequence[str],
    *,
    quick: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Part]:
    """Run parts of the validation.

    Parameters
    ----------
    letters : sequence of str
        Keys of `PARTS`.
    quick : bool, optional
        Fewer replications: wider standard errors, the same verdicts unless something is wrong.
    threads : int, optional
        How many threads simulate.
    progress : callable, optional
        Told after each case how far all parts together are.

    Yields
    ------
    Part
        One after the other.
    """
    import fastlhp

    modules: list[tuple[str, ModuleType]] = [
        (letter, importlib.import_module(PARTS[letter])) for letter in letters
    ]
    cases = {letter: list(module.cases(quick)) for letter, module in modules}
    loaded = {letter: [[fastlhp.load(s) for s in case.studies] for case in cases[letter]] for letter in cases}
    studies = [study for part in loaded.values() for case in part for study in case]
    n_configurations = sum(study.n_configurations for study in studies)
    n_replications = sum(study.n_configurations * study.replications for study in studies)
    done_configurations = done_replications = events = 0
    began = time.perf_counter()
    for letter, module in modules:
        outcomes = []
        for case, its in zip(cases[letter], loaded[letter], strict=True):
            results: list[Results] = []
            for study in its:
                results.append(fastlhp.run(study, threads=threads))
                done_configurations += study.n_configurations
                done_replications += study.n_configurations * study.replications
                events += int(results[-1].timing["events"])
                if progress is not None:
                    progress(
                        Progress(
                            done_configurations,
                            n_configurations,
                            done_replications,
                            n_replications,
                            events,
                            time.perf_counter() - began,
                        )
                    )
            outcomes.append((case.name, list(case.judge(*results))))
        yield Part(letter, module.TITLE, module.ALLOWED, outcomes)
