"""Guards: what happens when a vCPU is about to be preempted."""
