"""What a study says: units, distributions, host, VMs, policy, sweep.

Everything here is light: standard library, pydantic and NumPy, so that ``fastlhp check`` answers at once.
"""
