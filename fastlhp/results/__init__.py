"""What a study gives: counters, the metrics computed from them, the result file and the Results object."""
