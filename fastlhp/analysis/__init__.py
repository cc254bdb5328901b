"""Answers from results: estimates, comparisons, thresholds, sensitivity.

``fastlhp.analysis.compare(results)`` and the other functions below are what ``fastlhp compare`` prints.
"""

from fastlhp.analysis.comparison import Comparison, compare
from fastlhp.analysis.sweep import AnalysisError

__all__ = ["AnalysisError", "Comparison", "compare"]
