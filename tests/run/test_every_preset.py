"""Every preset runs."""

import pytest

import fastlhp
from fastlhp.model.presets import preset_names


@pytest.mark.parametrize("name", preset_names())
def test_preset_runs(name):
    """A small overcommitted host under the preset: something happens, and the engine's own accounts add up."""
    study = {
        "study": {"name": name, "seed": 1, "duration": "120ms", "warmup": "0ms", "replications": 2},
        "host": {"pcpus": 4, "frequency": "2GHz"},
        "policy": {"preset": name},
        "vm": [
            {
                "name": "vm",
                "count": 2,
                "vcpus": 4,
                "user": {"exponential": "20us"},
                "hold": {"exponential": "1us"},
            }
        ],
    }
    results = fastlhp.run(study, threads=1)
    assert (results["acquisitions"] > 1000).all()
    assert (results["context_switches"] > 0).all()
