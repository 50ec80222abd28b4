"""The smallest effect of each factor that the planned replicates can find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.errors import NothingStored, SweeperError
from sweeper.spec import Looks, Screen, Spec, Target
from sweeper.spec.factors import condition, grid
from sweeper.store.store import Store

if TYPE_CHECKING:
    from sweeper.analysis.power import Pilot


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """The smallest difference between a factor's levels that is found 4 times in 5.

    Attributes:
        replicates: the planned number; `at_most` under a plan.
        family: the number of pairs of levels that are judged together.
        d: in sd of the paired differences; None if a target fixes the effect itself.
        effect: in `unit`; None without a pilot.
        sd: of the pilot's differences, with its replicates; None without a pilot.
    """

    factor: str
    replicates: int
    at_most: bool
    family: int
    d: float | None
    effect: float | None
    unit: str
    sd: float | None = None
    pilot: int | None = None


def detectable(spec: Spec, pilots: Mapping[str, Pilot] | None = None) -> tuple[Detectable, ...]:
    """One for each factor with two levels or more; none if cells are not compared in pairs."""
    screened = isinstance(spec.precision, Screen)  # the remaining levels are not known yet
    conditional = any(map(condition, spec.scientific.values()))
    if spec.search.method != "factorial" or conditional or screened:
        return ()
    levels = {name: len(set(grid(factor) or ())) for name, factor in spec.scientific.items()}
    found = (
        _one(spec, name, family=number * (number - 1) // 2, pilot=(pilots or {}).get(name))
        for name, number in levels.items()
        if number > 1
    )
    return tuple(one for one in found if one is not None)


def _one(spec: Spec, name: str, *, family: int, pilot: Pilot | None) -> Detectable | None:
    # Statistics take seconds to import and are needed only here.
    from sweeper.analysis import power
    from sweeper.analysis.measures import POINTS, objective

    measure, plan = objective(spec.model_dump(mode="json")), spec.precision
    most = spec.most_replicates
    if most < 3:
        return None
    shares = len(plan.looks) if isinstance(plan, Looks) else 1
    d: float | None = power.smallest(n=most, family=family, shares=shares)
    effect = d * pilot.sd if pilot is not None else None
    if isinstance(plan, Target):
        half = plan.target * (POINTS if measure.unit == "points" else 1.0)
        aimed = power.smallest_of_target(half, start=plan.start, family=family)
        # A pilot may show that the cap misses the target.
        d, effect = None, aimed if effect is None else max(aimed, effect)
    return Detectable(
        factor=name,
        replicates=most,
        at_most=plan is not None,
        family=family,
        d=d,
        effect=effect,
        unit=measure.unit,
        sd=pilot.sd if pilot else None,
        pilot=pilot.n if pilot else None,
    )


def pilots(name: str, storage: str, *, say: Callable[[str], None]) -> Mapping[str, Pilot]:
    """The spread in the sweep of this name so far; empty if there is none.

    A plan is made before anything exists: a missing database is no error, other faults are.
    """
    from sweeper.analysis import power
    from sweeper.analysis.frames import load

    try:
        with Store.open(storage, create=False) as store:
            if store.sweep(name) is None:
                return {}
            return power.pilots(load(store, name, last_only=True))
    except NothingStored:
        return {}
    except SweeperError as error:
        say(f"no pilot: {error}")
        return {}
