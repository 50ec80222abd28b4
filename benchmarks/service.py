"""The claims about the service: `python benchmarks/service.py`, on one processor.

The queue: a thousand sweeps of four owners that arrive at 16 workers, under Sweeper's rules and
under a retry ladder (15 s, doubling to 10 minutes), on a virtual clock.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from queueing import Course, arrivals, by_class, ladder, ours

SEEDS, LOADS = (1, 2, 3), (0.7, 0.9, 1.0)


def main() -> None:
    """Prints a table."""
    print("| load | queue | mean wait, s | median | 95 % | longest | by class | inversions |")
    print("|---|---|---|---|---|---|---|---|")
    for load in LOADS:
        for name, play in (
            ("Sweeper", lambda listed: ours(listed, foresee=False)),
            ("ladder", ladder),
        ):
            rows = []
            for seed in SEEDS:
                listed = arrivals(seed, load=load)
                course = play(listed)
                rows.append([*_numbers(course), *by_class(course, listed, mean).values()])
            average, median, late, longest, inversions, *classes = map(
                mean, zip(*rows, strict=True)
            )
            told = ", ".join(f"{one:.0f}" for one in classes)
            print(
                f"| {load} | {name} | {average:.0f} | {median:.0f} | {late:.0f} | {longest:.0f} | "
                f"{told} | {inversions:.0f} |"
            )
    for load in LOADS[:2]:
        errors = []
        for seed in SEEDS:
            listed = arrivals(seed, load=load)
            course = ours(listed)
            errors.append([
                course.error(one.entry.name for one in listed if one.entry.priority == priority)
                for priority in ("normal", "low")
            ])  # fmt: skip
        normal, low = map(mean, zip(*errors, strict=True))
        print(f"expected start at load {load}: wrong by {normal:.0%} (normal), {low:.0%} (low)")


def _numbers(course: Course) -> list[float]:
    longest = max(course.waited.values())
    return [course.mean(), course.quantile(0.5), course.quantile(0.95), longest, course.inversions]


if __name__ == "__main__":
    main()
