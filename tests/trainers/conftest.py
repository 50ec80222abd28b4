"""What the trainer's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets that the variable SWEEPER_DATA names."""
    if "SWEEPER_DATA" not in os.environ:
        pytest.skip("SWEEPER_DATA does not name the folder of the real data sets")
    return Path(os.environ["SWEEPER_DATA"])
