"""Studies to start from."""

import copy
import tomllib

import pytest

from fastlhp.data_files import data_path


@pytest.fixture
def example():
    """The example study as a dictionary, without its sweep."""
    tree = tomllib.loads(data_path("example_study.toml").read_text(encoding="utf-8"))
    del tree["sweep"]
    return copy.deepcopy(tree)
