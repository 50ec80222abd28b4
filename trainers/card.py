"""The model card: what a saved model is, its training data, its metrics and its limits.

The card is Markdown made from model.json alone. Names from files or users are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainers.config import leaves
from trainers.notes import notes, other_data

NAMED = 100  # columns that are listed by name
SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#!|~&@])")
GROUP_WORDS = {
    "majority": "the third of the classes with the most training samples",
    "minority": "the third with the fewest",
    "head": "classes with more than 100 training samples",
    "medium": "20 to 100",
    "tail": "fewer than 20",
}
PAPER = (
    "Shwartz-Ziv, Goldblum, Li, Bruss, Wilson: Simplifying Neural Network Training Under Class "
    "Imbalance. NeurIPS 2023. arXiv:2312.02517."
)


def card(facts: Mapping[str, Any]) -> str:
    """Returns the card as Markdown."""
    parts = [
        f"# {_title(facts)}",
        _summary(facts),
        *_data(facts),
        *_recipe(facts),
        *_metrics(facts),
        *_evidence(facts),
        *_use(facts),
        "## Citation",
        f"The levers and their reading: {PAPER}",
    ]
    return "\n\n".join(parts) + "\n"


def plain(value: object) -> str:
    """Returns text on one line without characters that Markdown or HTML would interpret."""
    return SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *[[plain(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(facts: Mapping[str, Any]) -> str:
    train, data = facts["config"]["train"], facts["config"]["data"]
    return plain(f"{train['model']} on {data['dataset']}, {len(facts['classes'])} classes")


def _summary(facts: Mapping[str, Any]) -> str:
    kind = "images" if facts["inputs"]["kind"] == "image" else "rows of a table"
    return (
        f"A classifier of {kind} with {facts['parameters']:,} parameters, trained by Sweeper's "
        f"trainer (version {plain(facts['trainer']['version'])}, PyTorch "
        f"{plain(facts['trainer']['torch'])}). `model.safetensors` holds the numbers, `model.json` "
        "all else that it takes to use them."
    )


def _data(facts: Mapping[str, Any]) -> list[str]:
    data, facts_of = facts["config"]["data"], facts["data"]
    imbalance = data["imbalance"]
    lines = [
        f"- data set: {plain(data['dataset'])}, fingerprint `{facts_of['fingerprint'][:16]}`",
        f"- imbalance: {imbalance['profile']}, train ratio {imbalance['train_ratio']}",
        f"- input: {_input(facts['inputs'])}",
    ]
    counts, splits = facts_of["counts"], _judged(facts)
    rows = [
        [name, facts["train_counts"][at], *[counts[split][at] for split in splits]]
        for at, name in enumerate(facts["classes"])
    ]
    header = ["class", "trained on", *splits.values()]
    return ["## Data", "\n".join(lines), table(header, rows)]


def _judged(facts: Mapping[str, Any]) -> dict[str, str]:
    """The splits that the network was measured on, with headings; validation may be missing."""
    words = {"val": "validation", "test": "test"}
    return {split: word for split, word in words.items() if split in facts["metrics"]}


def _input(inputs: Mapping[str, Any]) -> str:
    if inputs["kind"] == "image":
        channels, height, width = inputs["shape"]
        colour = "grey" if channels == 1 else "colour"
        sized = f"{colour} images of {height} x {width} pixels, 0 to 255 or decimal in 0 to 1"
        files = f", or image files of any size, which are brought to {height} x {width}"
        return sized + (files if inputs["resizing"] else "")
    numbers, words = (_named(inputs["columns"][kind]) for kind in ("numbers", "categories"))
    return (
        f"numeric columns {numbers}; categorical columns {words}. A missing number is the median "
        "of the training pool, a missing or unknown category a level of its own"
    )


def _named(columns: Iterable[str]) -> str:
    names = [plain(name) for name in columns]
    more = f" and {len(names) - NAMED:,} more, which model.json names" if len(names) > NAMED else ""
    return (", ".join(names[:NAMED]) or "none") + more


def _recipe(facts: Mapping[str, Any]) -> list[str]:
    rows = [(path, value) for path, value in leaves(facts["config"]["train"]) if value is not None]
    run = (
        f"Replicate {facts['replicate']}: it fixes the draw of the training subset, the "
        f"initialisation and the order. {facts['step']:,} updates; the network after the last of "
        "them is kept, whatever it scored."
    )
    return ["## Training", run, table(["key", "value"], rows)]


def _metrics(facts: Mapping[str, Any]) -> list[str]:
    splits, test = _judged(facts), facts["metrics"]["test"]
    judged = [facts["metrics"][split] for split in splits]
    overall = [
        [name.replace("_", " "), *[_number(split["overall"][name]) for split in judged]]
        for name in test["overall"]
    ]
    groups = [
        [name, *[_number(split["groups"][name]["accuracy"]) for split in judged], GROUP_WORDS[name]]
        for name in test["groups"]
    ]
    classes = [
        [
            name,
            *[_number(split["classes"][name]["recall"]) for split in judged],
            _number(block["precision"]),
            f"{block['support'] or 0:.0f}",
        ]
        for name, block in test["classes"].items()
    ]
    recalls = [f"recall, {word}" for word in splits.values()]
    return [
        "## Metrics",
        "These are the metrics of a single network at its last evaluation. They say little about "
        "the recipe: another initialisation or subset gives other metrics.",
        table(["metric", *splits.values()], overall),
        table(["group, mean recall", *splits.values(), "which"], groups),
        table(["class", *recalls, "precision, test", "test samples"], classes),
    ]


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _evidence(facts: Mapping[str, Any]) -> list[str]:
    """The reason for this configuration, as the file's author gave it."""
    evidence = facts["evidence"]
    if evidence is None:
        return []
    lines = "\n".join(_outline(evidence))
    other = other_data(evidence, facts["data"]["fingerprint"])
    warning = [f"**{plain(other)}**"] if other else []
    return ["## Evidence for this configuration", *warning, lines]


def _outline(value: Any, depth: int = 0) -> Iterable[str]:
    """Nested lists with the content of a JSON value."""
    pad = "  " * depth
    pairs = value.items() if isinstance(value, Mapping) else None
    if pairs is None and not isinstance(value, list):
        yield f"{pad}- {plain(value)}"
    for key, inner in pairs or ():
        if isinstance(inner, Mapping | list) and inner:
            yield f"{pad}- {plain(key)}:"
            yield from _outline(inner, depth + 1)
        else:
            yield f"{pad}- {plain(key)}: {plain(inner)}"
    for inner in value if isinstance(value, list) else ():
        if isinstance(inner, Mapping):
            yield f"{pad}- " + "; ".join(f"{plain(k)} {plain(v)}" for k, v in inner.items())
        else:
            yield from _outline(inner, depth)


def _use(facts: Mapping[str, Any]) -> list[str]:
    thin = [
        name
        for name, count in zip(facts["classes"], facts["data"]["counts"]["test"], strict=True)
        if count < 20
    ]
    limits = [
        "- Meant for data like those above: same source, same classes, same preparation. On other "
        "data its quality is unknown.",
        '- It cannot answer "none of these": every input gets one of its classes.',
        "- It was trained on the class proportions above. Where class proportions differ, "
        "its probabilities are biased.",
        "- Not checked for fairness between groups of people, nor for adversarial inputs.",
    ]
    limits += [f"- {plain(note)}" for note in notes(facts["data"])]
    if thin:
        named = ", ".join(map(plain, thin[:10])) + (" ..." if len(thin) > 10 else "")
        limits.append(
            f"- The recall of these classes comes from fewer than 20 test samples: {named}."
        )
    use = (
        f"Apply it with `sweeper predict MODEL DATA`, where DATA is {_takes(facts['inputs'])}; or "
        "with `trainers.saved.load` from Python."
    )
    return ["## Use and limits", use, "\n".join(limits)]


def _takes(inputs: Mapping[str, Any]) -> str:
    """The files that the model can be applied to."""
    if inputs["kind"] == "table":
        return "a .csv, .csv.gz or .parquet with the columns above, in any order"
    column = plain(inputs["image"])
    files = f"a .parquet with image files in a column {column}, or a folder of images"
    return f"a .npz with an array `images`, {files}"
