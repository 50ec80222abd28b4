"""Limits of owners: what is used, what is left, and what a submission may take. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sweeper.errors import InputError
from sweeper.store.service_records import Needs, Owner, Usage

NEARLY = 0.8  # of a limit: worth a message
RAISE = "an administrator may raise it: sweeper limits OWNER --set"


class LimitReached(InputError):
    """A submission would take more than its owner has left."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """An owner's limits and what the owner has used of them.

    Attributes:
        price: of an hour of a GPU, or of a worker without one; 0: nothing has a price.
    """

    owner: str
    limits: Owner | None = None
    used: Usage | None = None
    price: float = 0.0

    @property
    def hours(self) -> float:
        """Hours of GPUs, or of workers without one, that were used."""
        return 0.0 if self.used is None else self.used.total / 3600

    @property
    def money(self) -> float:
        """What they cost, each at the price of its time."""
        return 0.0 if self.used is None else self.used.money

    def exhausted(self) -> str:
        """Why nothing more of the owner may run; empty if it may."""
        return next((text for _, share, text in self._shares() if share >= 1), "")

    def nearly(self) -> list[tuple[str, str]]:
        """The limits of which little is left: a word that names the limit, and a sentence."""
        return [(word, text) for word, share, text in self._shares() if share >= NEARLY]

    def _shares(self) -> Iterator[tuple[str, float, str]]:
        limits = self.limits
        if limits is None:
            return
        if (most := limits.most_hours) is not None:
            text = f"{self.owner} has used {self.hours:.1f} of {most:g} hours"
            yield f"hours:{most:g}", self.hours / most, text
        if (most := limits.most_money) is not None:
            text = f"{self.owner} has spent {self.money:.2f} of {most:.2f}"
            yield f"money:{most:g}", self.money / most, text

    def remarks(self, needs: Needs, *, running: int, planned_s: float = 0.0) -> list[str]:
        """A line for each limit that a submission meets.

        Args:
            running: sweeps of the owner that are not settled.
            planned_s: what they will still use, as far as it is known.

        Raises:
            LimitReached: it may not be accepted, with what is left.
        """
        self.check(needs, planned_s=planned_s)
        limits, found = self.limits, list[str]()
        if limits is None:
            return found
        most = limits.most_workers
        if most is not None and needs.workers is not None and needs.workers > most:
            found.append(f"workers: {most} at a time instead of {needs.workers}, for {self.owner}")
        most = limits.most_sweeps
        if most is not None and running >= most:
            found.append(f"sweeps: {most} of {self.owner} at a time; this one waits for another")
        if not needs.seconds and (left := self.left()):
            told = " and ".join(f"{value:.1f} {word}" for word, value in left.items())
            found.append(f"its hours are not known yet; it runs until {told} are used")
        return found

    def check(self, needs: Needs, *, planned_s: float = 0.0) -> None:
        """Refuses what takes more than is left, beside what other sweeps will use.

        Raises:
            LimitReached: it does, as far as its time is known.
        """
        if said := self.exhausted():
            raise LimitReached(f"limit: {said}; {RAISE}")
        hours, planned = needs.seconds * needs.cost / 3600, planned_s / 3600
        for word, left in self.left().items():
            price = self.price if word == "money" else 1.0
            if hours and (hours + planned) * price > left:
                others = f", {planned * price:.3g} planned for others" if planned else ""
                raise LimitReached(
                    f"limit: about {hours * price:.3g} {word} needed{others}, {left:.3g} left for "
                    f"{self.owner}; ask for less (replicates, train.epochs, limits.hours), or "
                    f"{RAISE} most_{word}=..."
                )

    def left(self) -> dict[str, float]:
        """What is left of each limit of use."""
        found: dict[str, float] = {}
        if self.limits is not None and self.limits.most_hours is not None:
            found["hours"] = max(self.limits.most_hours - self.hours, 0.0)
        if self.limits is not None and self.limits.most_money is not None:
            found["money"] = max(self.limits.most_money - self.money, 0.0)
        return found

    def shown(self) -> dict[str, Any]:
        """All of it, for an answer."""
        limits = self.limits or Owner(owner=self.owner)
        return {
            "limits": {name: getattr(limits, name) for name in LIMITS},
            "used": {"hours": self.hours, "money": self.money},
            "left": self.left(),
            "price": self.price,
        }


LIMITS = ("weight", "most_sweeps", "most_workers", "most_hours", "most_money")
WHOLE = frozenset({"most_sweeps", "most_workers"})


def limit(name: str, value: object) -> float | None:
    """The value of a limit; None: there is none.

    Raises:
        InputError: it is not above 0, or not whole where it counts something.
    """
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1e12 or (name in WHOLE and value != int(value)):  # type: ignore[operator]
        kind = "whole number" if name in WHOLE else "number"
        raise InputError(f"{name}: {value!r}: a {kind} above 0, or null for no limit")
    return value  # type: ignore[return-value]
