"""From a study to results: plan, execute, store."""
