"""Answers from results: estimates, comparisons, thresholds, sensitivity.

``fastlhp.analysis.compare(results)`` and the other functions below are what ``fastlhp compare`` prints.
"""

from fastlhp.analysis.comparison import Comparison, compare
from fastlhp.analysis.disorder import frozen_disorder
from fastlhp.analysis.rare import RareLhp, rare_lhp
from fastlhp.analysis.sensitivity import Sensitivity, sensitivity
from fastlhp.analysis.sweep import AnalysisError
from fastlhp.analysis.thresholds import Reach, until
from fastlhp.analysis.transients import Transients, transients

__all__ = [
    "AnalysisError",
    "Comparison",
    "RareLhp",
    "Reach",
    "Sensitivity",
    "Transients",
    "compare",
    "frozen_disorder",
    "rare_lhp",
    "sensitivity",
    "transients",
    "until",
]
