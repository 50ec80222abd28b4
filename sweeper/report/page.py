"""One sweep as one self-contained HTML page, from the database alone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from html import unescape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sweeper import files
from sweeper.analysis import imported
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.cost import fused_gain
from sweeper.analysis.frames import Frames, Reads, load
from sweeper.analysis.verdicts import caution
from sweeper.analysis.view import SweepView, view_of
from sweeper.analysis.wording import interval, number
from sweeper.drawing import table as tables
from sweeper.drawing.figure import Figure, Section
from sweeper.drawing.redact import scrub, scrub_spec
from sweeper.errors import InputError
from sweeper.report import archive as carry
from sweeper.report.glossary import OF_ONE, Entry, used
from sweeper.report.manifest import manifest, provenance
from sweeper.report.methods import methods
from sweeper.report.overrides import overrides
from sweeper.report.references import bibtex
from sweeper.states import RunState
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import progress
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats
from sweeper.topics.recommendation.text import recommended
from sweeper.topics.registry import sections

GENERATOR = '<meta name="generator" content="Sweeper report">'
TEMPLATES = Path(__file__).parent / "templates"
HEROES = ("response", "tuning")  # sections whose first figure stands on the first screen
KNOWN_DATA = {  # data sets that are known by their name
    "digits": "digits (scikit-learn)",
    "digits_table": "digits as a table (scikit-learn)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "Kuzushiji-MNIST",
}
MOST_BUDGETS = 6  # that are listed one by one
SCRIPTS = (
    "styles.js",
    "draw.js",
    "folds.js",
    "state.js",
    "runs.js",
    "save.js",
    "table.js",
    "start.js",
)


def write(store: Reads, name: str, *, out: Path, force: bool = False) -> Path:
    """Write the report of the sweep `name` to `out`; an older report stays whole until then.

    Raises:
        InputError: `out` exists and is not a report of Sweeper's (`force` replaces it), is a
            folder, lies in a folder that does not exist, or cannot be written.
        StoreError: there is no such sweep.
    """
    check_target(out, force=force)
    return save(html(load(store, name)), out=out)


def save(page: str, *, out: Path) -> Path:
    """Put a page in the place of an older one at once.

    Raises:
        InputError: it cannot be written.
    """
    try:
        files.write(out, page)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from error
    return out


def check_target(out: Path, *, force: bool, option: str = "--out") -> None:
    """Whether a report may be written there."""
    if not out.parent.is_dir():
        raise InputError(f"{option} {out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise InputError(f"{option} {out}: is a folder; name a file, such as {out / 'report.html'}")
    if os.path.lexists(out) and not force and not is_report(out):
        raise InputError(f"{option} {out}: exists and is not a Sweeper report; --force replaces it")


def is_report(path: Path) -> bool:
    """Whether Sweeper wrote this file."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(4096)


def html(frames: Frames) -> str:
    """The page as text: made from what it carries, so that `sweeper verify` can make it again."""
    return remake(carry.dump(carry.clean(frames)))


def remake(block: bytes) -> str:
    """The page that carries these data. The same block gives the same page.

    Raises:
        CarryError: the block cannot be read.
    """
    return render("page.html", block=block, **contents(carry.read(block), block))


def contents(frames: Frames, block: bytes) -> dict[str, Any]:
    """What the page of one sweep says and shows, by the names of its template."""
    view, about = view_of(frames), manifest(frames, block)
    shown = sections(view)
    parts = [part for _, part in shown]
    return {
        "about": about,
        "parts": parts,
        "opened": {part.id for topic, part in shown if topic.open},
        "short": {part.id: topic.short for topic, part in shown if topic.short},
        "hero": hero(parts),
        **said(view),
        "methods": (told := methods(view)),
        "bibtex": bibtex(" ".join(told)),
        "provenance": provenance(frames, about["data"]),
        "overrides": overrides(frames.sweep),
        "spec_text": scrub_spec(frames.sweep.spec_text),
        "glossary": OF_ONE,
    }


def hero(parts: Sequence[Section]) -> Figure | None:
    """The figure of the first screen."""
    return next((part.figures[0] for part in parts if part.id in HEROES), None)


def render(
    template: str, *, block: bytes, about: Mapping[str, Any], parts: Sequence[Section], **said: Any
) -> str:
    """A template with what every page has: style, scripts and their policy, figures, data.

    `glossary` is cut to the words that the page uses without it.
    """
    script, glossary = _script(), said.pop("glossary")
    fill = partial(
        environment().get_template(template).render,
        generator=Markup(GENERATOR),  # noqa: S704 constant
        policy=policy(bundle(), script, style=text_of("page.css")),
        bundle=Markup(bundle()),  # noqa: S704 our own vendored file
        script=Markup(script),  # noqa: S704 our own file
        style=Markup(text_of("page.css")),  # noqa: S704 our own file
        payload=payload([asdict(one) for part in parts for one in part.figures]),
        manifest=payload(about),
        data=base64.b64encode(block).decode(),
        sections=parts,
        **FUNCTIONS,
        **said,
    )
    return with_glossary(fill, glossary)


def with_glossary(fill: Callable[..., str], glossary: Sequence[Entry]) -> str:
    """The text that `fill` makes, with the words that it uses without a glossary."""
    return fill(glossary=used(glossary, _readable(fill(glossary=()))))


def _readable(page: str) -> str:
    """What a reader sees of a page: its text, without style and scripts."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", " ", bare))


def said(view: SweepView) -> dict[str, Any]:
    """The sentences of the page."""
    sweep = view.frames.sweep
    return {
        "name": sweep.name,
        "question": sweep.question or sweep.name,
        "lead": words.lead(view),
        "lines": words.lines(view),
        "partial": words.progress(view.frames),
        "state": scrub(sweep.state_reason),
        "caveats": caveats(view),
        "caution": caution_of(view),
        "progress": progress.table(view),
        "recommended": recommended(view),
        "facts": facts(view.frames),
        "objective_words": view.objective.title,
        "own_trainer": view.frames.own_trainer,
        "imported": imported.reading(view.frames) if view.frames.foreign else "",
    }


def caution_of(view: SweepView) -> str:
    """The warning of few replicates; may be empty."""
    if view.to_come or view.comparable.comparison is Comparison.NOTHING:
        return ""
    ns = [
        one.estimate.n
        for effect in view.of(differences.build).primary
        for one in effect.differences
    ]
    return caution(min(ns), everywhere=len(set(ns)) == 1) if ns else caution(view.replicates)


def scale(marks: Sequence[words.Mark]) -> dict[str, float]:
    """The common scale of the small interval pictures beside a sentence: low and high."""
    ends = [0.0]
    for mark in marks:
        one = mark.estimate
        ends += [v for v in (one.low, one.high, one.value) if v == v]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 1.0
    return {"low": low - room, "high": high + room}


def place(value: float, span: dict[str, float]) -> str:
    """Where a value lies on that scale, in percent from the left."""
    return f"{100 * (value - span['low']) / (span['high'] - span['low']):.2f}"


def worker_seconds(frames: Frames) -> float:
    """Training time of all workers: the members of a pack train in the same seconds."""
    tries = frames.attempts.groupby(["pack_id", "number"])["seconds"]
    return float(tries.max().sum())


def facts(frames: Frames) -> list[tuple[str, str]]:
    """The strip of plain numbers under the verdict."""
    runs, cells = frames.reported_runs, frames.reported
    complete = int((runs["state"] == RunState.COMPLETE).sum())
    cells_of, seen = frames.cells["role"], ~frames.cells["hidden"].astype(bool)
    screened = int(((cells_of == "screening") & seen).sum())
    spent = worker_seconds(frames)
    gain = fused_gain(frames)
    listed = [
        ("cells screened", str(screened) if screened else ""),
        ("cells", str(len(cells))),
        ("replicates", str(runs["replicate"].nunique())),
        ("runs complete", f"{complete} of {len(runs)}"),
        ("worker time", tables.seconds(spent) if spent else ""),
        ("fused training", f"{gain:.1f} times as fast (probe)" if gain else ""),
    ]
    unit = frames.sweep.spec.get("budget", {}).get("unit", "epochs")
    budgets = frames.budgets
    amounts = ", ".join(map(str, budgets))
    if len(budgets) > MOST_BUDGETS:
        amounts = f"{budgets[0]} to {budgets[-1]}"
    listed.append(("budget", f"{amounts} {unit}" if amounts else ""))
    listed.append(("read from", imported.origin(frames) if frames.foreign else ""))
    listed.append(("trainer", "" if frames.foreign else frames.own_trainer))
    listed.append(("data", _data_in_words(frames)))
    return [(label, value) for label, value in listed if value]


def _data_in_words(frames: Frames) -> str:
    """The data set as a person would name it: `digits (scikit-learn), 10 classes`."""
    block = frames.sweep.spec.get("data", {})
    name = KNOWN_DATA.get(block.get("dataset", ""), "") or Path(frames.data).stem
    classes = len(frames.sweep.facts.get("classes", ()))
    return f"{name}, {classes} classes" if name and classes else name


# What templates call.
FUNCTIONS = {"number": number, "interval": interval, "scale": scale, "place": place}


def payload(tree: Any) -> Markup:
    """JSON that no HTML parser can leave."""
    raw = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        raw = raw.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(raw)  # noqa: S704 none of HTML's signs is left


def policy(*scripts: str, style: str) -> str:
    """The content-security policy: these scripts, this style, no network, nothing else."""
    return (
        f"default-src 'none'; script-src {' '.join(map(source, scripts))}; "
        f"style-src {source(style)} {source('')}; img-src data:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def source(text: str) -> str:
    """The element of exactly this text, as a policy allows it.

    plotly makes an empty style element, which scripts may fill: `source("")`.
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def bundle() -> str:
    """plotly.js 4.1.1, cartesian, minified: https://github.com/plotly/plotly.js (MIT)."""
    return text_of("plotly-cartesian.min.js")


def _script() -> str:
    """The page's own script: its files share one scope of their own."""
    inner = "\n".join(text_of(name) for name in SCRIPTS)
    return f'"use strict";\n(function () {{\n{inner}\n}})();'


def text_of(name: str) -> str:
    """A file that lies beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """The templates of reports."""
    made = Environment(
        loader=PackageLoader("sweeper.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["commands"] = commands
    return made


def commands(words: str) -> Markup:
    """A text with what stands in backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(words))))  # noqa: S704
