"""What has changed since the last launch of a sweep: its spec, its data, or the trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.engine.compatibility import NEW_NAME
from sweeper.errors import InputError
from sweeper.spec import Spec
from sweeper.store.records import Sweep
from trainers.config import leaves
from trainers.data_config import PLACES

# Blocks of a spec that make its cells.
WHOLE = ("trainer", "fixed", "scientific", "compare", "nuisance", "search", "budget")
NAMED = 6  # classes in a sentence
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class LaunchChanges:
    """The differences from the last launch."""

    name: str  # of the sweep
    spec: bool
    data: str  # the samples before and now; empty if the data are unchanged
    trainer: str  # the two versions; empty if they are equal
    decided: bool  # a plan for replicates has used the earlier numbers

    @property
    def text(self) -> str:
        """The causes of new and hidden cells, in a clause."""
        causes = [*self._others(), *(["the spec has changed"] if self.spec else [])]
        return " and ".join(causes) or "the spec has changed"

    def _others(self) -> Iterator[str]:
        if self.data and self.trainer:
            yield "the data file, or how it is read, has changed"
        elif self.data:
            yield "the data file has changed"
        if self.trainer:
            yield f"the trainer has changed ({self.trainer})"

    def check_decisions(self) -> None:
        """Returns if decisions about the replicates are still valid.

        Raises:
            InputError: they come from numbers of other data, or of another trainer.
        """
        others = " and ".join(self._others())
        if self.decided and others:
            raise InputError(
                f"sweep '{self.name}': {others}, and its replicates were decided by earlier "
                f"numbers; {NEW_NAME}"
            )

    def check_data(self, *, agreed: bool) -> None:
        """Returns if the sweep may continue with these data.

        Raises:
            InputError: they are other data, and the user has not agreed.
        """
        if self.data and not agreed:
            raise InputError(
                f"sweep '{self.name}': {' and '.join(self._others())} since its last launch: "
                f"{self.data}; --new-data hides the cells of the old data and runs everything again"
            )


def look(
    spec: Spec, sweep: Sweep, facts: Mapping[str, Any], *, trainer: str, same_cells: bool
) -> LaunchChanges:
    """Compares the sweep in the database with what is to be launched.

    Args:
        facts: of the data now.
        trainer: its version.
        same_cells: whether a new cell equals an old one, which shows that neither data nor trainer
            has changed.
    """
    before, now = sweep.spec, spec.model_dump(mode="json")
    versions = "" if same_cells else _versions(sweep.provenance.get("trainer"), trainer)
    stated = _same(before.get("data"), now["data"], fully=not versions)
    others = not same_cells and sweep.facts.get("fingerprint") != facts["fingerprint"]
    same = stated and _same(before.get("train"), now["train"], fully=not versions)
    return LaunchChanges(
        name=spec.name,
        spec=not same or any(before.get(key) != now.get(key) for key in WHOLE),
        data=counted(sweep.facts, facts) if others and stated else "",
        trainer=versions,
        decided=any(isinstance(stage["plan"], Mapping) for stage in sweep.stages),
    )


def _versions(before: str | None, now: str) -> str:
    if before == now:
        return ""
    return f"version {before} to {now}" if before else f"an earlier version to version {now}"


def _same(before: Any, now: Mapping[str, Any], *, fully: bool) -> bool:
    """Whether two blocks are equal; not `fully`: in the keys that both versions have.

    A file's path is ignored, except whether there is one. Then the number of evaluations is ignored
    too, because an earlier version did not choose it.
    """
    one, two = (
        {key: value is not None if key in PLACES else value for key, value in leaves(block)}
        for block in (before or {}, now)
    )
    keys = one.keys() | two.keys() if fully else (one.keys() & two.keys()) - {"evaluations"}
    return all(one.get(key) == two.get(key) for key in keys)


def counted(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The samples of each split before and now, with the classes that have more or fewer."""
    if "files" in now:
        return _files(before.get("files", {}), now["files"])
    parts = []
    for split in SPLITS:
        old, new = (_of_classes(facts, split) for facts in (before, now))
        if not old and not new:
            continue
        total, other = sum(old.values()), sum(new.values())
        if old == new:
            parts.append(f"{split} {total:,} samples as before")
            continue
        differ = [name for name in {**old, **new} if old.get(name, 0) != new.get(name, 0)]
        shown = [f"{name} {old.get(name, 0):,} to {new.get(name, 0):,}" for name in differ]
        parts.append(f"{split} {total:,} to {other:,} samples ({_some(shown)})")
    if all(part.endswith("as before") for part in parts):
        return f"{', '.join(parts)}, but with other content"
    return ", ".join(parts)


def _files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The files of a training function that have other content, are new, or are gone."""
    names = sorted({*before, *now})
    changed = [name for name in names if before.get(name) != now.get(name)]
    return f"other content in {', '.join(changed[:NAMED])}" if changed else "other files"


def _of_classes(facts: Mapping[str, Any], split: str) -> dict[str, int]:
    counts = facts.get("counts", {}).get(split, [])
    return dict(zip(facts.get("classes", []), counts, strict=False))


def _some(words: Sequence[str]) -> str:
    more = [f"{len(words) - NAMED} more classes"] if len(words) > NAMED else []
    return ", ".join([*words[:NAMED], *more])
