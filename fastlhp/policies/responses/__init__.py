"""Responses: what a vCPU does that has spun for a while."""
