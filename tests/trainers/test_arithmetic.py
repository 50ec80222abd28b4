"""No layer trains on a wrong gradient, whatever the processor and the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Threads that wait in a loop take a busy machine's time from those that they wait for.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("isa", ["", "AVX2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_forms_layers_have_the_gradients_of_float64(threads: int, isa: str) -> None:
    """Channels, kernels, strides, members and memory formats; AVX2 has kernels of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.layer_gradients"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "ONEDNN_MAX_CPU_ISA": isa} | PATIENT,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stdout, found.stderr) == (0, "1002 compared\n", "")
