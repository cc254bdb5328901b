"""Locks: who gets a spinlock next, running or not."""
