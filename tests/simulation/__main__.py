"""`python -m tests.simulation`: many seeds, or one with all that happens in it."""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.simulation import checker, running


def main() -> int:
    """Runs what is asked for; 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone and print its log")
    parser.add_argument("--first", type=int, default=0, help="the first of many seeds")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    options = parser.parse_args()
    with running.stage() as stage:
        if options.seed is not None:
            return _alone(stage, options.seed)
        return _many(stage, range(options.first, options.first + options.seeds))


def _alone(stage: running.Stage, seed: int) -> int:
    failed = False
    try:
        stage.simulate(seed)
    except Exception:  # noqa: BLE001  whatever it is, the log says how it came to it
        traceback.print_exc()
        failed = True
    print("\n".join([*stage.world.log, "committed:", *checker.history(stage.path)]))
    print(f"seed {seed}: {stage.world.digest()}, {'failed' if failed else 'passed'}")
    return int(failed)


def _many(stage: running.Stage, seeds: range) -> int:
    failed = 0
    for seed in seeds:
        if found := running.broken(stage, seed):
            failed += 1
            print(f"seed {seed}: {found}", flush=True)
    print(f"{len(seeds)} seeds of {running.SIZE}: {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
