"""Answers from results: estimates, comparisons, thresholds, sensitivity."""
