"""A study: what is simulated, for how long, how often."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from fastlhp.errors import Problem, StudyError
from fastlhp.model.configuration import Configuration, Parts
from fastlhp.model.design import Design
from fastlhp.model.plan import Plan
from fastlhp.model.precision import StopRule, stop_rule
from fastlhp.model.sweep import Axis, Label, format_keys
from fastlhp.model.toml import parse_toml, plain, read_toml, to_toml
from fastlhp.model.validation import Form, Mistake, Mistakes, ReplicationCount, Seed, Written, checked, show
from fastlhp.model.vm import VmGroup

__all__ = ["DICTIONARY", "Configurations", "Study", "load"]

DICTIONARY = "<dict>"
"""Where a study is from that is no file."""


class _Overrides(Form):
    """What a command line may say instead of the study file."""

    seed: Seed | None = None
    replications: ReplicationCount | None = None


class Configurations(Sequence[Configuration]):
    """The configurations of a study: a list that cannot be changed, each made when it is asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._n = plan.n_configurations

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Configuration: ...

    @overload
    def __getitem__(self, index: slice) -> list[Configuration]: ...

    def __getitem__(self, index: int | slice) -> Configuration | list[Configuration]:
        if isinstance(index, slice):
            return [self._plan.configuration(i) for i in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"configuration {index} of {len(self)}")
        return self._plan.configuration(position)

    def __iter__(self) -> Iterator[Configuration]:
        return (self._plan.configuration(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} configurations>"

    def parts(self, indices: npt.NDArray[np.int64]) -> Parts:
        """Return some configurations as what they are put together from, without making them."""
        return self._plan.configurations_by_parts(indices)

    def of_part(self, part: str, value: Callable[[Any], float]) -> Any:
        """Return a number of each configuration, without making them.

        Parameters
        ----------
        part : str
            What decides it: ``study`` (the window), ``host``, ``scheduler``, ``guard`` or ``response``.
        value : callable
            Returns it; called once for each variant of the part.

        Returns
        -------
        ndarray, shape (configuration,)
        """
        return self._plan.of_part(part, value)

    def of_vms(self, value: Callable[[VmGroup], float]) -> list[Any]:
        """As `of_part`, of the groups of VMs: an array for each of them."""
        return self._plan.of_vms(value)


@dataclass(frozen=True, eq=False)
class Study:
    """A valid study; made by `load`.

    Attributes
    ----------
    name : str
        Its name.
    seed : int
        Seed of all draws.
    replications : int
        Replications of each configuration; at most, if `precision` decides.
    text : str
        The study file; canonical TOML if the study was made from a dictionary. Overrides do not change it.
    source : str
        Path of the study file, or `DICTIONARY`.
    precision : StopRule or None
        When a configuration is replicated no more; None if all have the same number of replications.
    """

    name: str
    seed: int
    replications: int
    text: str
    source: str
    precision: StopRule | None
    _plan: Plan = dataclasses.field(repr=False)

    @property
    def duration_ns(self) -> int:
        """Length of the measured window in ns; of the first configuration, if it is swept."""
        return self.configurations[0].duration_ns

    @property
    def warmup_ns(self) -> int:
        """Time before the measured window in ns; of the first configuration, if it is swept."""
        return self.configurations[0].warmup_ns

    @property
    def n_configurations(self) -> int:
        """Number of configurations; does not make them."""
        return self._plan.n_configurations

    @cached_property
    def configurations(self) -> Configurations:
        """All configurations, in file order of the sweep, the first path slowest."""
        return Configurations(self._plan)

    @property
    def n_combinations(self) -> int:
        """Number of combinations of the swept values, those that are dropped included."""
        return self._plan.n_combinations

    @property
    def dropped(self) -> dict[str, int]:
        """How many combinations each filter drops, or each reason why the model refuses them."""
        return dict(self._plan.dropped)

    @property
    def design(self) -> Design | None:
        """How the ranges of the sweep are sampled; None if there are none."""
        return self._plan.window(0).design

    @property
    def keeps_replications(self) -> bool:
        """Whether a result file keeps the values of each replication; otherwise it keeps summaries."""
        return self._plan.window(0).store == "replications"

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What is swept: an axis for each list, each table of lists that advance together, and all ranges."""
        return tuple(self._plan.axes)

    @property
    def swept(self) -> dict[str, tuple[Label, ...]]:
        """The labels of each swept path, in the order of the file."""
        return {column.path: column.labels for axis in self._plan.axes for column in axis.columns}

    @property
    def coordinates(self) -> dict[str, list[Label]]:
        """For each swept path the label of every configuration."""
        return self._plan.coordinates()

    @property
    def policy_paths(self) -> tuple[str, ...]:
        """The swept paths under ``policy`` or a VM's ``lock``: what ``--by policy`` means."""
        return tuple(
            column.path
            for axis in self._plan.axes
            for column in axis.columns
            if column.keys[0] == "policy" or column.keys[0] == "vm" and "lock" in column.keys
        )

    def with_(self, replications: int | None = None, seed: int | None = None) -> "Study":
        """Return the study with another number of replications, whatever their precision, or another seed.

        Raises
        ------
        StudyError
            If one of them is not possible.
        """
        try:
            given = checked(_Overrides, {"seed": seed, "replications": replications}, None)
        except Mistakes as error:
            raise StudyError(
                [Problem(format_keys(m.keys), show(m.found), m.accepted) for m in error.mistakes]
            ) from None
        return dataclasses.replace(
            self,
            replications=self.replications if given.replications is None else given.replications,
            precision=self.precision if given.replications is None else None,
            seed=self.seed if given.seed is None else given.seed,
        )

    @cached_property
    def files_hash(self) -> str:
        """Hash of what the study takes from data files; empty if it names none."""
        files = self._plan.files
        return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16] if files else ""

    @cached_property
    def warnings(self) -> list[str]:
        """What is valid but may not be meant: tails that are cut, windows of a few slices."""
        return [*self._plan.cut_tails(), *self._plan.doubts(), *self._doubts()]

    def _repr_html_(self) -> str:
        """Return what the study will run, for notebooks."""
        from fastlhp.view.notebook import study_card

        return study_card(self)

    def _doubts(self) -> Iterator[str]:
        if self.replications == 1:
            yield "study.replications: 1 replication gives no confidence intervals"


def load(source: "str | os.PathLike[str] | Mapping[str, Any] | Study", *, text: str | None = None) -> Study:
    """Return the study that a file or a dictionary describes.

    Parameters
    ----------
    source : path, mapping or Study
        A study file in TOML, or the same as a dictionary. File names in a dictionary are relative to the
        current folder, those in a study file to the study file. A study is returned as it is.
    text : str, optional
        What to take for the content of the study file, which need not exist.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        If anything in it is wrong; ``problems`` has all of it.
    """
    if isinstance(source, Study):
        return source
    if isinstance(source, Mapping):
        name, text, raw, folder = DICTIONARY, None, source, Path()
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        text, raw = read_toml(source) if text is None else (text, parse_toml(text, name))
        folder = Path(name).parent
    else:
        raise StudyError([Problem("study", show(source), "the path of a study file, or a dictionary")])
    try:
        tree, mistakes = plain(raw)
    except RecursionError:
        mistakes, tree = [Mistake((), Written("tables nested without end"), "a dictionary")], {}
    stem = Path(name).stem if name != DICTIONARY else "study"
    plan = Plan(
        tree if isinstance(tree, dict) else {}, folder, stem if stem.isprintable() and stem else "study"
    )
    problems = [Problem(format_keys(m.keys) or "study", show(m.found), m.accepted) for m in mistakes]
    if not problems:
        problems = plan.check()
    if problems:
        raise StudyError(problems, "" if text is None else name)
    form = plan.window(0)
    rule = stop_rule(form.precision, form.replications)
    replications = form.replications if rule is None else rule.maximum
    return Study(form.name, form.seed, replications, text or to_toml(plan.tree), name, rule, plan)
