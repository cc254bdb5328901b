"""Schedulers: who runs on which pCPU, and for how long."""
