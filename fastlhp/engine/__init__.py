"""The machine: the guest in vectors over many replications, the hypervisor in scalar code."""
