"""How many simulated sweeps a minute: `python benchmarks/simulation.py`, on two processors."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SEEDS, PROCESSES = 600, 2
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Runs the first seeds, a part in each process."""
    began, part = time.perf_counter(), SEEDS // PROCESSES
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(part), "--first"]
    running = [
        subprocess.Popen([*command, str(part * process)], cwd=ROOT) for process in range(PROCESSES)
    ]
    codes = [process.wait() for process in running]
    rate = 60 * SEEDS / (time.perf_counter() - began)
    print(f"{rate:.0f} seeds a minute in {PROCESSES} processes, their start included")
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
