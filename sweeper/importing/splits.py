"""Where each metric of a table is recorded: its split, by the name of its column."""

from __future__ import annotations

from sweeper.importing.columns import Columns, plain
from sweeper.store.records import Key

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "eval": "val", "evaluation": "val", "test": "test", "testing": "test",
}  # fmt: skip


def layout(columns: Columns) -> tuple[tuple[Key, ...], Key, list[str]]:
    """Where each metric is recorded (split, metric, ""), where the objective is, and remarks.

    The report reads the objective on the test split. Metrics of the validation split stay there if
    the objective is known on both; else the report calls their split test, and a remark says so.
    """
    found = [parted(*one) for one in columns.metrics.items()]
    split, base = found[0]
    apart = {("val", base), ("test", base)} <= set(found)
    keys: list[Key] = []
    for name, (where, metric) in zip(columns.metrics, found, strict=True):
        kept = (where == "train" and metric != base) or (where == "val" and apart)
        key = (where if kept else "test", metric, "")
        keys.append(key if key not in keys else (key[0], plain(name).replace(".", "_"), ""))
    objective = ("test", base, "")
    column = next(iter(columns.metrics.values()))
    return tuple(keys), objective, _split_remark(column, split, apart=apart)


def parted(name: str, column: str) -> tuple[str, str]:
    """The split that a column's name speaks of ("" for none), and the metric.

    A metric that the user has named keeps that name.
    """
    parts = plain(column).replace(".", "_").split("_")
    metric = plain(name).replace(".", "_")
    for at, rest in ((0, parts[1:]), (-1, parts[:-1])):
        split = SPLITS.get(parts[at].lower())
        if split and rest:
            return split, "_".join(rest) if name == plain(column) else metric
    return "", metric


def _split_remark(column: str, split: str, *, apart: bool) -> list[str]:
    if apart or split == "test":
        return []
    words = {
        "val": f"was measured on validation data (column {column})",
        "train": f"was measured on training data (column {column})",
        "": f"is column {column}, which does not say on which split it was measured",
    }
    return [f"The objective {words[split]}; this page calls that split test."]
