"""A small study and its results."""

import pytest
from stand_ins import in_memory, make_result, make_study


@pytest.fixture
def study():
    """Three configurations of 1, 2 and 3 VMs."""
    return make_study()


@pytest.fixture
def results(study):
    """All configurations with random counters."""
    return in_memory(study, *(make_result(study, i) for i in range(3)))
