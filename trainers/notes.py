"""Notes on the data for readers of results: one sentence each, from the data's facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAMED = 10  # classes or columns in a sentence


def notes(facts: Mapping[str, Any]) -> list[str]:
    """Returns the notes on `Dataset.facts`; an empty list if there is nothing to note."""
    return [
        *_left_out(facts.get("left_out", {})),
        *_untested(facts),
        *_repeats(facts),
        *_columns(facts.get("columns") or {}),
    ]


def _left_out(left_out: Mapping[str, int]) -> Iterator[str]:
    if not left_out:
        return
    named = _counted(left_out)
    many = "1 class is" if len(left_out) == 1 else f"{len(left_out):,} classes are"
    yield f"{many} left out, with fewer samples than data.min_per_class: {named}."


def _untested(facts: Mapping[str, Any]) -> Iterator[str]:
    tested = facts.get("counts", {}).get("test", ())
    absent = [
        repr(name) for name, n in zip(facts.get("classes", ()), tested, strict=False) if not n
    ]
    if absent:
        many = "1 class has" if len(absent) == 1 else f"{len(absent):,} classes have"
        yield f"{many} no test sample, and so no part in any result: {_named(absent)}."


def _columns(found: Mapping[str, Any]) -> Iterator[str]:
    if found.get("cut"):
        yield (
            "Categories with more than 255 levels, of which only the commonest 255 are told apart: "
            f"{_counted(found['cut'])}. data.drop leaves identifiers out."
        )
    if found.get("unseen"):
        yield (
            "Categories of which most test samples have a value that the training pool has not, "
            f"so that it counts as missing: {_counted(found['unseen'])}. Are they written alike in "
            "both?"
        )


def _counted(counts: Mapping[str, int]) -> str:
    return _named([f"{name!r} ({count:,})" for name, count in counts.items()])


def _named(words: Sequence[str]) -> str:
    more = f" and {len(words) - NAMED:,} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more


def _repeats(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("repeats", {})
    sizes = {split: sum(counts) for split, counts in facts.get("counts", {}).items()}
    seen, tested = found.get("test_in_others", 0), sizes.get("test", 0)
    if seen and seen == tested:
        yield (
            f"All {tested:,} test samples are equal to training or validation samples: test "
            "results say nothing about new data. Is the test file the training file, or is every "
            "sample there twice?"
        )
    elif seen:
        yield (
            f"{_of(seen, tested)} test samples are equal to a training or validation sample: "
            "test results may be too good. data.group keeps related samples in one split."
        )
    if found.get("val_in_train"):
        part = _of(found["val_in_train"], sizes["val"])
        yield (
            f"{part} validation samples are equal to a training sample: what is selected on them "
            "may not be the best on new data."
        )
    own = [f"{_of(found[s], sizes[s])} in {s}" for s in sizes if found.get(s)]
    if own:
        yield f"Samples that repeat an earlier one of their split: {', '.join(own)}."


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({100 * count / total:.2g} %)"


def other_data(evidence: Any, fingerprint: str) -> str:
    """Returns a sentence if `evidence` comes from other data than these, or else an empty text."""
    before = evidence.get("data_fingerprint") if isinstance(evidence, Mapping) else None
    if before in (None, "", fingerprint):
        return ""
    return (
        "The data are not those that the evidence for this configuration comes from: their "
        f"fingerprint is {fingerprint[:16]}, it was {str(before)[:16]}."
    )
